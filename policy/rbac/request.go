package rbac

import (
	"time"

	"mcpgateway/policy"
)

// Request is what a caller wants, as whoever has parsed it says. Of Tool, Resource,
// Template and Prompt at most one is set, the one that the method is about.
type Request struct {
	Identity *policy.Identity
	Project  string // the server's
	Server   string
	Action   string // the MCP method
	Tool     string // the server's own name of it: tools/call
	Resource string // the URI as sent: resources/read, subscribe and unsubscribe
	Template string // a URI template: completion/complete, and listing
	Prompt   string // prompts/get, and completion/complete
	// Arguments is the raw JSON object of the arguments; nil is an empty one.
	Arguments []byte
	// Listing asks whether the caller may see something in a list. The action is that
	// of its use; arguments are not known.
	Listing bool
	Now     time.Time
}

// Decision says whether a request is allowed, and by which rule, or why not.
type Decision struct {
	Allowed bool
	Rule    string // "policies.yaml:12:9 (role developer)", or why no rule allowed it
}

// kind is what the names in a rule are compared with.
type kind int

const (
	kindOther    kind = iota // nothing: only rules without names
	kindAnything             // whether there is anything that the caller may use
	kindTool
	kindResource
	kindTemplate
	kindPrompt
)

// subject is a request as rules see it.
type subject struct {
	action string
	kind   kind
	name   string
}

func (r *Request) subject() subject {
	switch r.Action {
	case "tools/call":
		return subject{r.Action, kindTool, r.Tool}
	case "prompts/get":
		return subject{r.Action, kindPrompt, r.Prompt}
	case "resources/read", "resources/subscribe", "resources/unsubscribe":
		return r.resource()
	case "completion/complete":
		if r.Prompt != "" {
			return subject{"prompts/get", kindPrompt, r.Prompt}
		}
		return r.resource()
	}
	if follows, _ := policy.Follows(r.Action); follows {
		return subject{r.Action, kindAnything, ""}
	}
	return subject{r.Action, kindOther, ""}
}

func (r *Request) resource() subject {
	if r.Template != "" {
		return subject{"resources/read", kindTemplate, r.Template}
	}
	return subject{"resources/read", kindResource, r.Resource}
}
