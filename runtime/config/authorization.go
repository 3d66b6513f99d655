package config

// Authorization is how it is decided what they may do.
type Authorization struct {
	Type       string `config:"type" want:"rbac" enforced:""` // "" or "rbac"
	PolicyFile string `config:"policy_file" want:"/"`
}
