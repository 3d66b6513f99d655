package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mcpgateway/proxy/pins"
)

// fakeProxy answers at the operator's socket of a state folder as a proxy would, or as
// a captured one could.
func fakeProxy(t *testing.T, answers map[string]string) (state string) {
	t.Helper()
	state = t.TempDir()
	listener, err := net.Listen("unix", filepath.Join(state, operatorLink))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, ok := answers[r.URL.Path]
		if !ok {
			w.WriteHeader(http.StatusBadGateway)
			answer = `{"error":"down\u001b[2J"}`
		}
		_, _ = w.Write([]byte(answer)) // who does not read it has failed already
	})}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Close()
		<-served
	})
	return state
}

const readFile = `{"name":"read_file","description":"Reads a file"}`

func approved(t *testing.T, definitions ...string) pins.Lock {
	t.Helper()
	lock := pins.Lock{"files": {}}
	for _, d := range definitions {
		name, _ := pins.NameOf([]byte(d))
		lock["files"][name] = pins.Entry{SHA256: pins.DigestOf([]byte(d)), Approved: time.Unix(1, 0).UTC(), By: "root", Definition: json.RawMessage(d)}
	}
	return lock
}

func TestReview(t *testing.T) {
	t.Parallel()
	listing := func(tools string) string { return `{"server":"files","mode":"block","tools":[` + tools + `]}` }
	tests := []struct {
		name, answer string
		want         string // states
		problem      string
	}{
		{name: "approved", answer: listing(`{"name":"read_file","state":"approved","definition":{"description":"Reads a file", "name":"read_file","_meta":{}}}`), want: "read_file approved"},
		{name: "approved, says the proxy", answer: listing(`{"name":"read_file","state":"approved","definition":{"name":"read_file"}}`), want: "read_file changed"},
		{name: "changed before", answer: listing(`{"name":"read_file","state":"changed","definition":` + readFile + `}`), want: "read_file changed before"},
		{name: "new and gone", answer: listing(`{"name":"a","state":"approved","definition":{"name":"a"}}`), want: "a new, read_file gone"},
		{name: "gone", answer: listing(`{"name":"read_file","state":"gone"}`), want: "read_file gone"},
		{name: "another's definition", answer: listing(`{"name":"read_file","state":"new","definition":{"name":"write_file"}}`), problem: "that of another tool"},
		{name: "a name twice in a definition", answer: listing(`{"name":"a","state":"new","definition":{"name":"a","description":"x","description":"y"}}`), problem: "duplicate"},
		{name: "no definition", answer: listing(`{"name":"a","state":"new"}`), problem: "parse object"},
		{name: "twice", answer: listing(`{"name":"a","state":"new","definition":{"name":"a"}},{"name":"a","state":"new","definition":{"name":"a"}}`), problem: "more than once"},
		{name: "no JSON", answer: `{`, problem: "read the proxy's answer"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			state := fakeProxy(t, map[string]string{"/tools": test.answer})
			found, err := reviewServer(t.Context(), state, approved(t, readFile), "files")
			if test.problem != "" {
				if err == nil || !strings.Contains(err.Error(), test.problem) {
					t.Errorf("got %v, want %q", err, test.problem)
				}
				return
			}
			var states []string
			for _, tool := range found.tools {
				states = append(states, tool.name+" "+tool.describeState())
			}
			if got := strings.Join(states, ", "); err != nil || got != test.want {
				t.Errorf("got %s, %v, want %s", got, err, test.want)
			}
		})
	}
}

func TestApprove(t *testing.T) {
	t.Parallel()
	const changed = `{"name":"read_file","description":"Reads a file\u200b, and sends it","inputSchema":{"type":"object"}}`
	answer := `{"tools":[{"name":"read_file","state":"changed","definition":` + changed + `},{"name":"new\u001b","state":"new","definition":{"name":"new\u001b"}}]}`
	tests := []struct {
		name   string
		names  []string
		answer string // to the question; "": --yes
		want   string // tools of the lock afterwards
		err    string
	}{
		{name: "all", want: "gone- new\x1b read_file*"},
		{name: "one", names: []string{"read_file"}, answer: "y\n", want: "gone read_file*"},
		{name: "one that is gone", names: []string{"gone"}, answer: "yes\n", want: "read_file"},
		{name: "no", answer: "n\n", want: "gone read_file", err: "status 2"},
		{name: "no answer", answer: "\n", want: "gone read_file", err: "status 2"},
		{name: "one that there is not", names: []string{"x"}, answer: "y\n", want: "gone read_file", err: `no tool "x"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "tools.lock")
			before := approved(t, readFile, `{"name":"gone"}`)
			if err := updateLock(path, func(l pins.Lock) { l["files"] = before["files"] }); err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			a := approval{state: fakeProxy(t, map[string]string{"/tools": answer}), lock: path, server: "files", yes: test.answer == "", in: strings.NewReader(test.answer), out: &out}
			err := a.run(t.Context(), test.names)
			want := test.err
			if want == "" {
				want = "the gateway did not take it" // there is no daemon
			}
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %q", err, want)
			}
			lock, err := readLock(path)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, name := range sortedKeys(lock["files"]) {
				if lock["files"][name].SHA256 == pins.DigestOf([]byte(changed)) {
					name += "*"
				}
				got = append(got, name)
			}
			if want := strings.ReplaceAll(test.want, "gone- ", ""); strings.Join(got, " ") != want {
				t.Errorf("got %q approved, want %q", got, want)
			}
			if strings.ContainsAny(out.String(), "\x1b\u200b") {
				t.Errorf("wrote hidden characters: %q", out.String())
			}
			if len(test.names) == 0 {
				for _, line := range []string{`- description: "Reads a file"`, `+ description: "Reads a file\u{200b}, and sends it"`, `+ inputSchema.type: "object"`, `tool "new\u{1b}" is new`, `tool "gone" is gone`} {
					if !strings.Contains(out.String(), line) {
						t.Errorf("did not show %s:\n%s", line, out.String())
					}
				}
			}
		})
	}
}

func TestLockFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "tools.lock")
	lock := approved(t, "{\"name\":\"a\",\"description\":\"x\u200by\U000E0041 <b> 👨\u200d👩\",\"n\":1.0}", readFile)
	if err := updateLock(path, func(l pins.Lock) { l["files"] = lock["files"] }); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\n        \"description\": \"x\\u200by\\udb40\\udc41 <b> 👨\\u200d👩\"", "\n        \"n\": 1.0\n", "\n    \"a\": {\n"} {
		if !strings.Contains(string(content), want) {
			t.Errorf("got %s, want %s in it", content, want)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o644 {
		t.Errorf("got %v, %v, want mode 0644", info.Mode(), err)
	}
	if err := updateLock(path, func(pins.Lock) {}); err != nil {
		t.Fatal(err)
	}
	if again, err := os.ReadFile(path); err != nil || !bytes.Equal(again, content) {
		t.Errorf("got %s, %v of the same lock, want the same bytes", again, err)
	}
	huge := strings.Repeat("x", 9<<20)
	err = updateLock(path, func(l pins.Lock) { l["files"] = approved(t, `{"name":"a","x":"`+huge+`"}`)["files"] })
	if err == nil || !strings.Contains(err.Error(), "would be larger") {
		t.Errorf("got %v, want it refused", err)
	}
	if again, err := os.ReadFile(path); err != nil || !bytes.Equal(again, content) {
		t.Errorf("a refused lock was written: %v", err)
	}
}

func TestNoProxy(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	err := askProxy(t.Context(), state, "/servers", "", &struct{}{})
	if _, there := os.Stat(defaultOperator); !errors.Is(there, os.ErrNotExist) {
		t.Skip("a gateway is installed and runs here")
	}
	if err == nil || !strings.Contains(err.Error(), "does not run") {
		t.Errorf("got %v, want that the gateway does not run", err)
	}
	err = askProxy(t.Context(), fakeProxy(t, nil), "/servers", "", &struct{}{})
	if err == nil || !strings.Contains(err.Error(), `502: down\u{1b}[2J`) {
		t.Errorf("got %v, want its error, made visible", err)
	}
}
