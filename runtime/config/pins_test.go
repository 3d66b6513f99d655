package config

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mcpgateway/policy"
)

func TestToolPins(t *testing.T) {
	t.Parallel()
	const servers = "servers: {a: {command: x}, b: {command: x, tool_pins: report}}\n"
	tests := []struct {
		name, text string
		lock       string // "": no file
		mode       os.FileMode
		a, b       policy.PinMode
		hidden     policy.HiddenText
		warning    string
		want       string // error; "": none
	}{
		{name: "defaults", text: servers, a: "off", b: "report", hidden: "strip"},
		{name: "off, without quotes", text: "security: {tool_pins: {mode: off}, hidden_text: off}\n" + servers, a: "off", b: "report", hidden: "off"},
		{name: "block", text: "security: {tool_pins: {mode: block}}\n" + servers, lock: "what servers wrote", a: "block", b: "report", hidden: "strip"},
		{name: "nothing approved", text: "security: {tool_pins: {mode: block}}\n" + servers, a: "block", b: "report", hidden: "strip", warning: `no tool of ["a"] can be used`},
		{name: "another mode", text: "security: {tool_pins: {mode: blok}}\n" + servers, want: `:1:30: security.tool_pins.mode: is "blok"`},
		{name: "another mode of a server", text: "servers: {a: {command: x, tool_pins: on}}\n", want: `servers.a.tool_pins: is "on"`},
		{name: "another treatment", text: "security: {hidden_text: drop}\n", want: `security.hidden_text: is "drop"`},
		{name: "no absolute path", text: "security: {tool_pins: {file: tools.lock}}\n", want: "security.tool_pins.file"},
		{name: "others can write it", text: servers, lock: "x", mode: 0o666, want: "can be written by its group or others"},
		{name: "too long", text: servers, lock: strings.Repeat("x", MaxLockSize+1), want: "is larger than"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			lock := filepath.Join(dir, "tools.lock")
			if tt.lock != "" {
				if err := os.WriteFile(lock, []byte(tt.lock), 0o600); err != nil {
					t.Fatal(err)
				}
				if err := os.Chmod(lock, max(tt.mode, 0o600)); err != nil {
					t.Fatal(err)
				}
			}
			r := read(filepath.Join(dir, "c.yaml"), []byte(tt.text), os.LookupEnv, systemHost())
			if tt.want != "" {
				if r.Err == nil || !strings.Contains(r.Err.Error(), tt.want) {
					t.Errorf("got %v, want %q", r.Err, tt.want)
				}
				return
			}
			if r.Err != nil {
				t.Fatal(r.Err)
			}
			if a, b := r.Config.Servers["a"].ToolPins, r.Config.Servers["b"].ToolPins; a != tt.a || b != tt.b || r.Config.Security.HiddenText != tt.hidden {
				t.Errorf("got %q, %q and %q, want %q, %q and %q", a, b, r.Config.Security.HiddenText, tt.a, tt.b, tt.hidden)
			}
			if got := r.Config.Security.ToolPins; got.File != lock || !bytes.Equal(got.Lock, []byte(tt.lock)) {
				t.Errorf("got %q of %s, want %q of %s", got.Lock, got.File, tt.lock, lock)
			}
			if warnings := r.Warnings.Error(); strings.Contains(warnings, "tool_pins") != (tt.warning != "") || !strings.Contains(warnings, tt.warning) {
				t.Errorf("got warnings %s, want %q", warnings, tt.warning)
			}
		})
	}
}
