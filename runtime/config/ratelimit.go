package config

// RateLimit bounds requests.
type RateLimit struct {
	Enabled           bool    `config:"enabled" enforced:"false"`
	RequestsPerSecond float64 `config:"requests_per_second" want:"0.001..1000000"`
	Burst             int     `config:"burst" want:"1..1000000"`
}
