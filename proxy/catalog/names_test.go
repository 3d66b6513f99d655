package catalog

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"mcpgateway/proxy/mcp"
)

func TestExposed(t *testing.T) {
	t.Parallel()
	c := New(members(map[string]*fake{"a": nil, "a__b": nil, "my.server": nil, "files": nil}), nil, "", "")
	long := strings.Repeat("x", 64)
	tests := []struct {
		server, name, want string
		altered            bool
	}{
		{"files", "read_file-2", "files__read_file-2", false},
		{"files", "__x__", "files____x__", false},
		{"files", long[:57], "files__" + long[:57], false},
		{"files", long[:58], "files__" + long[:46], true},
		{"files", "admin.tools list", "files__admin_tools_list", true},
		{"files", "größe", "files__gr__e", true},
		{"files", "x_0123456789", "files__x_0123456789", true}, // looks altered
		{"files", "x_012345678g", "files__x_012345678g", false},
		{"files", "day_20261123", "files__day_20261123", false},
		{"my.server", "x", "my_server__x", true},
		{"a__b", "x", "a__b__x", false},
		{"a", "b__x", "a__b__x", true}, // would be a__b's
		{"a", "b", "a__b", false},
		{"a", "b__", "a__b__", false},
	}
	for _, test := range tests {
		got := c.exposed(test.server, test.name)
		if !test.altered {
			if got != test.want {
				t.Errorf("%s, %s: got %s, want %s", test.server, test.name, got, test.want)
			}
			continue
		}
		if !hashed(got) || got[:len(got)-1-hashDigits] != test.want[:min(len(test.want), maxStem)] || got != altered(test.server, test.name) {
			t.Errorf("%s, %s: got %s, want %s and a hash", test.server, test.name, got, test.want)
		}
	}
}

func TestHashTellsServersApart(t *testing.T) {
	t.Parallel()
	if altered("a", "b__x") == altered("a__b", "x") {
		t.Error("got one name for two tools whose full names are alike")
	}
}

// Whatever servers and tools are called: each gets a name of its own that clients
// take, the name leads back to it, and it does not depend on who else answers.
func TestNamesAreUniqueAndLeadBack(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		random := rand.New(rand.NewPCG(seed, 4))
		servers := map[string]*fake{}
		for range 1 + random.IntN(5) {
			names := make([]string, 1+random.IntN(20))
			for i := range names {
				names[i] = randomName(random, `ab_.-"é`, 1, 70)
			}
			servers[randomName(random, "ab_.", 1, 6)] = withTools(names...)
		}
		c := unhurriedCatalog(servers)
		all := checkNames(t, c, servers)
		for name, server := range servers {
			server.fail = errDead
			some := New(members(servers), unhurried(), "key:a", "gateway")
			for exposed, owner := range checkNames(t, some, servers) {
				if all[exposed] != owner {
					t.Fatalf("seed %d: without %s %s means %s, else %s", seed, name, exposed, owner, all[exposed])
				}
			}
			server.fail = nil
		}
	}
}

// checkNames lists the tools, calls each, and returns whose each is.
func checkNames(t *testing.T, c *Catalog, servers map[string]*fake) map[string]string {
	t.Helper()
	want := 0
	for _, m := range c.members {
		if listing, err := c.lists.ask(t.Context(), question{c.owner, m, tools, nil}, 0); err == nil {
			want += len(listing.items)
		}
	}
	owners := map[string]string{}
	for name := range strings.FieldsSeq(keysOf(answerOf(t, c, request(mcp.MethodToolsList, `{}`)), tools)) {
		if len(name) > maxName || clean(name) != name {
			t.Errorf("%q is no name for clients", name)
		}
		answerOf(t, c, request(mcp.MethodToolsCall, fmt.Sprintf(`{"name":%q}`, name)))
		for server, f := range servers {
			last := f.last().request
			if last.Method() != mcp.MethodToolsCall {
				continue
			}
			own, _ := last.Text(last.Param("name"))
			owners[name] = server + " " + own
			f.mu.Lock()
			f.open = f.open[:len(f.open)-1]
			f.mu.Unlock()
			if c.exposed(server, own) != name {
				t.Errorf("%q led to %s of %s, which is %s", name, own, server, c.exposed(server, own))
			}
		}
	}
	if len(owners) != want {
		t.Errorf("got %d names, want %d", len(owners), want)
	}
	return owners
}

func randomName(random *rand.Rand, from string, min, max int) string {
	letters := []rune(from)
	name := make([]rune, min+random.IntN(max-min+1))
	for i := range name {
		name[i] = letters[random.IntN(len(letters))]
	}
	return string(name)
}

func FuzzNames(f *testing.F) {
	f.Add("a", "b__x", "a__b__x")
	f.Add("my.server", "x", "my_server__x_0123456789")
	f.Add("a_", "\xff", "")
	f.Fuzz(func(t *testing.T, server, name, asked string) {
		if server == "" || name == "" {
			return
		}
		c := New([]Member{{server, nil}, {"a", nil}, {"a__b", nil}}, NewLists(), "", "")
		exposed := c.exposed(server, name)
		if len(exposed) > maxName || clean(exposed) != exposed {
			t.Fatalf("%q of %q is %q", name, server, exposed)
		}
		if member, rest := c.split(exposed); !hashed(exposed) && (member.Name != server || rest != name) {
			t.Fatalf("%q leads to %q of %q, want %q of %q", exposed, rest, member.Name, name, server)
		}
		if hashed(exposed) && !mayOwn(server, exposed) {
			t.Fatalf("%q is not looked for on %q", exposed, server)
		}
		if hashed(asked) {
			return // members are asked
		}
		if member, own, err := c.resolve(context.Background(), tools, asked, nil); err == nil {
			if text, _ := mcp.TextOf(own); c.exposed(member.Name, text) != asked {
				t.Fatalf("%q leads to %q of %q, which is %q", asked, text, member.Name, c.exposed(member.Name, text))
			}
		}
	})
}
