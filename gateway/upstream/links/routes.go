// Package links makes the outbox's routes and the link upstream from the configuration. It starts
// nothing.
package links

import (
	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/gateway/topic/mapping"
	"github.com/gatehouse/gatehouse/gateway/upstream"
)

// Routes are the outbox's routes, from upstream.routes.
func Routes(cfg *config.Config) []upstream.Route {
	list := make([]upstream.Route, 0, len(cfg.Upstream.Routes))
	for _, r := range cfg.Upstream.Routes {
		route := upstream.Route{
			Name:     r.Name,
			Filter:   r.Filter,
			Priority: r.Priority,
			TTL:      r.TTL,
			Overflow: overflowOf(r.Overflow, cfg.Outbox.Overflow),
		}
		if route.TTL == 0 {
			route.TTL = cfg.Outbox.TTL
		}
		if cfg.Upstream.Mode == config.UpstreamMQTT {
			route.Topics = upRules(cfg.Upstream.MQTT.Topics.Up)
		}
		list = append(list, route)
	}
	return list
}

func upRules(list []config.UpMapping) []mapping.Rule {
	rules := make([]mapping.Rule, 0, len(list))
	for _, m := range list {
		rules = append(rules, mapping.Rule{Filter: m.Filter, From: m.From, To: m.To, Topic: m.Topic, QoS: linkQoS(m.QoS)})
	}
	return rules
}

func downRules(list []config.DownMapping) []mapping.Rule {
	rules := make([]mapping.Rule, 0, len(list))
	for _, m := range list {
		rules = append(rules, mapping.Rule{Filter: m.Filter, From: m.From, To: m.To, QoS: linkQoS(m.QoS)})
	}
	return rules
}

// linkQoS is a QoS of the configuration on the link upstream, which goes no higher than 1.
func linkQoS(n int) byte { return byte(max(0, min(n, 1))) } //nolint:gosec // it is 0 or 1

func overflowOf(own, standard string) upstream.Overflow {
	if own == "" {
		own = standard
	}
	switch own {
	case config.OverflowDropOldest:
		return upstream.DropOldest
	case config.OverflowDropNewest:
		return upstream.DropNewest
	}
	return upstream.Refuse
}
