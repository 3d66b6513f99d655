package config

import (
	"cmp"

	"mcpgateway/policy"
	"mcpgateway/runtime/document"
)

// instances completes and judges what says who shares a server's instances and how
// long they have for an answer.
func (c *checker) instances(p document.Path, s *Server) {
	s.MaxTimeout = cmp.Or(s.MaxTimeout, 10*s.Timeout)
	if s.MaxTimeout < s.Timeout {
		c.Fail(p.Key("max_timeout"), "is %s, below timeout, which is %s", s.MaxTimeout, s.Timeout)
	}
	for _, key := range []string{"replicas", "strategy"} {
		if s.Instances != policy.InstancesShared && c.Given(p.Key(key)) {
			c.Fail(p.Key(key), "is for servers that callers share: write instances: shared, or remove it")
		}
	}
	if s.Instances == policy.InstancesShared && s.Warm > s.Replicas {
		c.Fail(p.Key("warm"), "is %d, above replicas, which is %d", s.Warm, s.Replicas)
	}
}
