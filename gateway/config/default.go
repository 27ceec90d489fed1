package config

import "time"

// Default is a configuration in which everything that has a sensible value
// has it. It is not valid by itself: instance, listeners and state.dir say
// what only an operator knows.
func Default() Config {
	return Config{
		Limits: DefaultLimits(),
		Sessions: Sessions{
			MaxExpiry:      7 * 24 * time.Hour,
			QueueMessages:  1000,
			QueueBytes:     4 * MiB,
			TotalBytes:     256 * MiB,
			Max:            65536,
			PerPrincipal:   256,
			PrincipalShare: 0.125,
			Overflow:       OverflowDropOldest,
			Stall:          5 * time.Second,
			SlowLimit:      time.Minute,
			Retained:       100000,
			RetainedBytes:  64 * MiB,
		},
		Identity: Identity{
			Scope: "user_impersonation",
			Audiences: Audiences{
				// As Entra's v1 tokens name the resource, in both spellings, and as v2 tokens do: by its application id.
				DeviceUpdate: []string{
					"https://api.adu.microsoft.com",
					"https://api.adu.microsoft.com/",
					"6ee392c4-d339-4083-b04d-6b7947c6cf78",
				},
			},
			SAS: SAS{MaxLife: 365 * 24 * time.Hour},
		},
		Cloud: Cloud{Poll: Poll{Wait: 30 * time.Second, Full: 15 * time.Minute}},
		Access: Access{
			ActsForDepth: 1,
		},
		Offline: Offline{
			Stale:      time.Hour,
			Restricted: 72 * time.Hour,
			Expired:    30 * 24 * time.Hour,
		},
		State: State{MinFree: 64 * MiB},
		Outbox: Outbox{
			MaxBytes:          1 * GiB,
			MaxMessages:       2000000,
			PerDeviceBytes:    64 * MiB,
			PerDeviceMessages: 100000,
			Overflow:          OverflowRefuse,
			RefuseAfter:       30 * time.Second,
			Parked:            Parked{MaxMessages: 1000, MaxBytes: 16 * MiB, PerDeviceMessages: 100},
		},
		Upstream: Upstream{
			Mode:       UpstreamNone,
			MQTT:       UpstreamMqtt{KeepAlive: 60 * time.Second, Window: 256},
			IoTHub:     UpstreamHub{KeepAlive: 4 * time.Minute, Window: 256},
			AckTimeout: 30 * time.Second,
		},
		Health: Health{UpstreamDown: 30 * time.Second, OldestWaiting: 15 * time.Minute},
		DeviceUpdate: DeviceUpdate{
			Records:      RecordsOff,
			AllowedHosts: []string{"*.dl.adu.microsoft.com"},
			StuckAfter:   6 * time.Hour,
		},
		Audit: Audit{MaxSize: 16 * MiB, Keep: 4, RatePerPrincipal: 5, Ring: 2048},
		Log:   Log{Level: "info", Format: "auto"},
	}
}
