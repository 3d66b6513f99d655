package config

// Audit is where the audit log goes.
type Audit struct {
	Enabled    bool   `config:"enabled" enforced:"false"`
	File       string `config:"file" want:"/"`
	MaxSizeMB  int    `config:"max_size_mb" want:"1..1048576"`
	MaxBackups int    `config:"max_backups" want:"0..1000000"`
	MaxAgeDays int    `config:"max_age_days" want:"0..36500"`
}
