package backend

import (
	"testing"

	"mcpgateway/proxy/mcp"
)

func TestQuestioner(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		id     string
		number int
		own    string
	}{
		{"a number", `"mcpgateway-1:7"`, 1, `7`},
		{"a text", `"mcpgateway-12:\"ask-1\""`, 12, `"ask-1"`},
		{"of the first", `"ask-1"`, 0, `"ask-1"`},
		{"a number of the first", `7`, 0, `7`},
		{"no instance", `"mcpgateway-0:7"`, 0, `"mcpgateway-0:7"`},
		{"no id", `"mcpgateway-1:"`, 0, `"mcpgateway-1:"`},
		{"more than an id", `"mcpgateway-1:7,\"method\":\"tools/call\""`, 0, `"mcpgateway-1:7,\"method\":\"tools/call\""`},
		{"a line", `"mcpgateway-1:7\n"`, 0, `"mcpgateway-1:7\n"`},
		{"a message", `"mcpgateway-1:7}\n{}\n{\"id\":7"`, 0, `"mcpgateway-1:7}\n{}\n{\"id\":7"`},
		{"an object", `"mcpgateway-1:{}"`, 0, `"mcpgateway-1:{}"`},
		{"null", `"mcpgateway-1:null"`, 0, `"mcpgateway-1:null"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if number, own := Questioner([]byte(test.id)); number != test.number || string(own) != test.own {
				t.Errorf("got %d, %s, want %d, %s", number, own, test.number, test.own)
			}
		})
	}
}

// What a question is called goes back as it came.
func TestNumberedQuestions(t *testing.T) {
	t.Parallel()
	c := &Conn{role: role{number: 3}}
	for _, id := range []string{`7`, `"a\"b"`, `-1.5e3`} {
		asked := c.numbered(mcp.NewRequest([]byte(id), mcp.MethodRoots, nil))
		if number, own := Questioner(asked.ID()); number != 3 || string(own) != id {
			t.Errorf("%s: got %d, %s by %s", id, number, own, asked.Raw())
		}
		cancelled := c.numbered(mcp.NewRequest(nil, mcp.MethodCancelled, []byte(`{"requestId":`+id+`}`)))
		if got := cancelled.At(cancelled.Param("requestId")); string(got) != string(asked.ID()) {
			t.Errorf("%s: got the cancellation of %s, want of %s", id, got, asked.ID())
		}
	}
	if first := (&Conn{}).numbered(mcp.NewRequest([]byte("7"), mcp.MethodRoots, nil)); string(first.ID()) != "7" {
		t.Errorf("the first instance: got %s", first.Raw())
	}
}
