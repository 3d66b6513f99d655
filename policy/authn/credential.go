package authn

import (
	"net/http"
	"strings"

	"mcpgateway/policy"
)

// What a request's headers hold.
const (
	noCredential = iota
	bearer       // in Authorization
	keyHeader    // in X-Api-Key
)

// credential is what a request's headers hold.
type credential struct {
	kind int
	text string
}

// isKey and isToken tell by its text what a bearer is: no token begins like a key.
func (c credential) isKey() bool {
	return c.kind == keyHeader || c.kind == bearer && strings.HasPrefix(c.text, keyPrefix+"_")
}

func (c credential) isToken() bool { return c.kind == bearer && !c.isKey() }

// credentialOf finds the one credential of a request. Two of them are refused: who
// else looks at the request might take the other one.
func credentialOf(header http.Header) (credential, error) {
	authorization, keys := header["Authorization"], header["X-Api-Key"]
	switch {
	case len(authorization)+len(keys) > 1:
		return credential{}, invalid("more than one credential was sent")
	case len(keys) == 1:
		return credential{keyHeader, keys[0]}, nil
	case len(authorization) == 0:
		return credential{}, nil
	}
	scheme, text, _ := strings.Cut(authorization[0], " ")
	if !strings.EqualFold(scheme, "Bearer") { // RFC 9110, section 11.1
		return credential{}, invalid("the authorization scheme is not Bearer")
	}
	return credential{bearer, strings.Trim(text, " ")}, nil
}

// takenBy refuses a credential that none of the methods takes: it was sent to be
// looked at, and its holder must not believe that it was.
func (c credential) takenBy(methods []policy.Method) error {
	if c.kind == noCredential {
		return nil
	}
	for _, method := range methods {
		if method == policy.MethodAPIKey && c.isKey() || method.TakesTokens() && c.isToken() {
			return nil
		}
	}
	if c.isKey() {
		return invalid("API keys are not taken here")
	}
	return invalid("the bearer credential is none that is taken here")
}
