package gateway

import (
	"context"
	"fmt"
	"slices"

	"github.com/gatehouse/gatehouse/device/credential/jwt"
	"github.com/gatehouse/gatehouse/gateway/access"
	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/gateway/health/warnings"
	"github.com/gatehouse/gatehouse/gateway/identity/jwks"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// A reload reads the configuration again while the daemon serves. It can change the
// certificates of listeners (listeners[].tls, api.tls), the topic map, the file of token
// keys and the log level. All of these are read and checked before any is put into force,
// so a broken file changes nothing. Every other difference is named and waits for a restart.

// renewal is the part of a new configuration that a reload can change, ready to be put into force.
type renewal struct {
	cfg      config.Config // the configuration in force once that is done
	tls      []func()      // each puts a listener's certificate into force
	topicMap *access.TopicMap
	keys     *jwt.Keys
	held     []string // fields that wait for a restart
}

// reloader waits for Options.Reload.
func (d *daemon) reloader(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.opts.Reload:
			d.notify.Reloading()
			d.reload(ctx)
			d.notify.Ready(d.statusLine())
		}
	}
}

func (d *daemon) reload(ctx context.Context) {
	next, problems := d.opts.Load()
	problems = CheckAll(&next, problems)
	var r renewal
	if len(problems) == 0 {
		r, problems = d.renew(&next)
	}
	warnings.Reload(d.health, problems)
	if len(problems) > 0 {
		for _, p := range problems {
			d.log.Error("reload refused", "problem", p.String())
		}
		d.ledger.ReloadRefused(d.clock.Now(), problems[0])
		return
	}
	for _, takeOver := range r.tls {
		takeOver()
	}
	d.access.SetTopicMap(r.topicMap)
	if r.keys != nil {
		d.keys.Use(*r.keys)
	}
	_ = d.level.UnmarshalText([]byte(r.cfg.Log.Level)) // Check has read it
	d.inForce.Store(&r.cfg)
	took, err := d.revoke(ctx, principal.Everyone())
	if err != nil {
		d.log.Error("the reload did not reach every session", "err", err)
	}
	warnings.RestartNeeded(d.health, r.held)
	d.ledger.Reloaded(d.clock.Now(), took)
	d.warn(&next)
	d.log.Info("reloaded", "waiting for a restart", r.held)
}

// renew reads everything that next names and a reload can change. It changes nothing itself.
func (d *daemon) renew(next *config.Config) (renewal, []config.Problem) {
	r := renewal{cfg: *d.inForce.Load(), topicMap: access.NewTopicMap()}
	var problems []config.Problem
	wrong := func(field string, err error) {
		problems = append(problems, next.Problem(field, err.Error(), "correct the file and reload again"))
	}
	r.cfg.Listeners = slices.Clone(r.cfg.Listeners)
	sameDoors := len(next.Listeners) == len(r.cfg.Listeners)
	for i := range r.cfg.Listeners {
		own := &r.cfg.Listeners[i]
		if !sameDoors || own.TLS == nil || next.Listeners[i].TLS == nil || next.Listeners[i].Name != own.Name {
			continue
		}
		takeOver, err := d.doors.all.Prepare(d.doors.byName[own.Name], next.Listeners[i].TLS)
		if err != nil {
			wrong(fmt.Sprintf("listeners[%d].tls", i), err)
			continue
		}
		r.tls, own.TLS = append(r.tls, takeOver), next.Listeners[i].TLS
	}
	if own := &r.cfg.API; d.doors.api != nil && own.TLS != nil && next.API.TLS != nil {
		takeOver, err := d.doors.all.Prepare(d.doors.api, next.API.TLS)
		if err != nil {
			wrong("api.tls", err)
		} else {
			r.tls, own.TLS = append(r.tls, takeOver), next.API.TLS
		}
	}
	if r.cfg.Access.Map = next.Access.Map; r.cfg.Access.Map != "" {
		topicMap, more := access.LoadTopicMap(string(next.Access.Map))
		problems = append(problems, more...)
		r.topicMap = topicMap
	}
	if r.cfg.Identity.JWKS.File != "" && next.Identity.JWKS.File != "" {
		keys, err := jwks.ReadFile(next.Identity.JWKS.File)
		switch same := next.Identity.JWKS.File == r.cfg.Identity.JWKS.File; {
		case err == nil:
			r.keys, r.cfg.Identity.JWKS.File = &keys, next.Identity.JWKS.File
		case !same || !d.keys.Waits(): // a file for which the daemon waits already is no mistake of this configuration
			wrong("identity.jwks.file", err)
		}
	}
	r.cfg.Log.Level = next.Log.Level
	r.held = config.Differences(&r.cfg, next)
	return r, problems
}
