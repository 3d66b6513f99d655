package operator

import (
	"net/http"
	"time"
)

// tools answers GET /tools?server=NAME with a pins.Listing.
func (o *Operator) tools(r *http.Request) (any, error) {
	server, err := o.knows(r.URL.Query().Get("server"))
	if err != nil {
		return nil, err
	}
	return o.source.Listing(r.Context(), server)
}

// Instances is the answer to GET /instances.
type Instances struct {
	Instances []Instance `json:"instances"`
}

// Instance is a place of instances and its circuit breaker, with what runs there.
type Instance struct {
	Server   string    `json:"server"`
	Place    string    `json:"place"`
	Sandbox  string    `json:"sandbox,omitempty"`
	InFlight int       `json:"in_flight"`
	Breaker  string    `json:"breaker"` // breaker.Closed, "half-open" or "open"
	Failures int       `json:"failures"`
	Until    time.Time `json:"until,omitzero"`
	Cause    string    `json:"cause,omitempty"`
}

func (o *Operator) instances(*http.Request) (any, error) {
	answer := Instances{Instances: []Instance{}}
	for _, s := range o.source.States() {
		answer.Instances = append(answer.Instances, Instance{s.Server, s.Instance, s.Sandbox, s.InFlight, s.State.State, s.Failures, s.Until, s.Cause})
	}
	return answer, nil
}
