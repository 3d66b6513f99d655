package config

import (
	"errors"

	"mcpgateway/policy"
	"mcpgateway/runtime/document"
)

// Authorization is how it is decided what they may do.
type Authorization struct {
	Type       string `config:"type" want:"rbac"` // "": what a credential is good for decides alone
	PolicyFile string `config:"policy_file" want:"/"`

	// RBAC is what the file holds, nil without a type. Its conditions are not
	// compiled. Not a key.
	RBAC *policy.RBAC
}

// authorization reads the policy file. Its mistakes are reported beside those of
// the configuration.
func (c *checker) authorization() (mistakes document.Errors) {
	a, p := &c.config.Security.Authorization, document.At("security", "authorization")
	file := p.Key("policy_file")
	switch {
	case c.HasFailed(p.Key("type")) || c.HasFailed(file):
	case a.Type == "" && a.PolicyFile != "":
		c.Fail(p.Key("type"), "is missing: write rbac, or the policy file would not be used")
	case a.Type == "":
	case a.PolicyFile == "":
		c.Fail(file, "is missing: write the absolute path of the file with the rules")
	default:
		c.Watch(a.PolicyFile)
		var err error
		if a.RBAC, err = c.host.rules(a.PolicyFile); err != nil && !errors.As(err, &mistakes) {
			c.Fail(file, "%v", err)
		}
	}
	return mistakes
}
