package document

import (
	"errors"
	"io/fs"
	"os"
	"reflect"
	"strings"
	"syscall"
	"testing"
)

// someFile is a file of another user, as its stat says.
type someFile struct {
	fs.FileInfo
	uid uint32
}

func (f someFile) Sys() any { return &syscall.Stat_t{Uid: f.uid} }

func TestForeignOwner(t *testing.T) {
	t.Parallel()
	info, err := os.Stat("document_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		owner uint32
		user  int
		want  string
	}{
		{"root's, read by root", 0, 0, ""},
		{"root's, read by a user", 0, 1000, ""},
		{"own", 1000, 1000, ""},
		{"a user's, read by root", 1000, 0, "f: belongs to user 1000, who could change it: run chown root f"},
		{"another user's", 1001, 1000, "f: belongs to user 1001, who could change it: run chown root f"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := ""
			if err := trusted("f", someFile{info, tt.owner}, tt.user, 0o022); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("trusted: got %q, want %q", got, tt.want)
			}
		})
	}
}

// size is a number that may be a text with a unit, as types outside have it.
type size int64

func (s *size) UnmarshalText(text []byte) error {
	number, isKilo := strings.CutSuffix(string(text), "K")
	if !isKilo {
		return errors.New("wants a K")
	}
	*s = size(len(number)) << 10
	return nil
}

// password is only ever a text.
type password struct{ text string }

func (p *password) UnmarshalText(text []byte) error { p.text = string(text); return nil }

type schema struct {
	Size     size     `config:"size" want:"0|1024..4096"`
	Password password `config:"password"`
	Inner    struct {
		List []string `config:"list"`
	} `config:"inner"`
}

func TestDecode(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, text string
		env        func(string) (string, bool)
		want       schema
		errors     string
	}{
		{name: "number", text: "size = 1024", want: schema{Size: 1024}},
		{name: "text", text: `size = "xx K"`, want: schema{Size: 3 << 10}},
		{name: "zero", text: "size = 0"},
		{name: "neither zero nor in range", text: "size = 1", errors: "t.toml:1:8: size: is 1, want 0 or 1024 to 4096"},
		{name: "bad text", text: `size = "x"`, errors: "t.toml:1:8: size: wants a K"},
		{name: "bad type", text: "size = 1.5", errors: "t.toml:1:8: size: is 1.5, want a whole number in decimal digits"},
		{name: "only a text", text: "password = 12345", errors: "t.toml:1:12: password: is no text: put it in quotes"},
		{name: "no variables", text: `password = "${X} $${Y}"`, want: schema{Password: password{"${X} $${Y}"}}},
		{name: "variables", text: `password = "${X}"`, env: func(string) (string, bool) { return "x", true }, want: schema{Password: password{"x"}}},
		{name: "NUL without variables", text: `password = "\u0000"`, errors: "t.toml:1:12: password: holds a NUL byte: no program can be given one"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got schema
			r := Decode("t.toml", []byte(tt.text), tt.env, &got)
			if r.Errors().Error() != tt.errors {
				t.Errorf("errors: got %q, want %q", r.Errors().Error(), tt.errors)
			}
			if tt.errors == "" && !reflect.DeepEqual(got, tt.want) {
				t.Errorf("Decode: got %+v, want %+v", got, tt.want)
			}
		})
	}
}

// Who lays one file over another needs to know what each sets, and where.
func TestReportKnowsWhatAFileSets(t *testing.T) {
	t.Parallel()
	r := Decode("t.toml", []byte("# first\nsize = 0\n[inner]\n\nlist = []\n"), nil, new(schema))
	for _, tt := range []struct {
		path  Path
		given bool
		line  string
	}{
		{At("size"), true, "t.toml:2"},
		{At("inner"), true, "t.toml:3"},
		{At("inner", "list"), true, "t.toml:5"},
		{At("password"), false, "t.toml:1"},
	} {
		if got := r.Given(tt.path); got != tt.given {
			t.Errorf("Given(%s): got %v, want %v", tt.path, got, tt.given)
		}
		if got := r.Line(tt.path); got != tt.line {
			t.Errorf("Line(%s): got %s, want %s", tt.path, got, tt.line)
		}
	}
}
