package secret

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestNothingPrintsASecret(t *testing.T) {
	t.Parallel()
	const text = "pa55word"
	value := New(text)
	holder := struct {
		Key  Value
		Keys map[string]Value
		List []*Value
	}{value, map[string]Value{"k": value}, []*Value{&value}}

	var logged bytes.Buffer
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("x", "value", value, "holder", holder)
	slog.New(slog.NewTextHandler(&logged, nil)).Info("x", "value", value, "holder", holder)
	asJSON, err := json.Marshal(holder)
	if err != nil {
		t.Fatal(err)
	}
	asXML, err := xml.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]string{"slog": logged.String(), "json": string(asJSON), "xml": string(asXML)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		shown[verb] = fmt.Sprintf(verb+" "+verb+" "+verb+" "+verb, value, &value, holder, struct{ unexported Value }{value})
	}
	for how, got := range shown {
		for _, leak := range []string{text, fmt.Sprintf("%x", text), fmt.Sprintf("%X", text)} {
			if strings.Contains(got, leak) {
				t.Errorf("%s: got %q, want the text hidden", how, got)
			}
		}
	}
	if got := shown["slog"]; !strings.Contains(got, "[hidden]") {
		t.Errorf("slog: got %q, want a placeholder", got)
	}
}

func TestReveal(t *testing.T) {
	t.Parallel()
	if got := New("x").Reveal(); got != "x" {
		t.Errorf("Reveal: got %q, want x", got)
	}
	if !New("").Empty() || New("x").Empty() {
		t.Error("Empty: want it true of no text only")
	}
}

func TestLater(t *testing.T) {
	t.Parallel()
	var value Value
	set := value.Later()
	copied := value
	if value.Empty() || value.Known() || value.Reveal() != "" {
		t.Error("before: want it neither empty nor known")
	}
	set("user:pa55word", []string{"pa55word"})
	if got := copied.Reveal(); got != "user:pa55word" || !copied.Known() || copied.Fetched()[0] != "pa55word" {
		t.Errorf("after: got %q, want the text in the copy, too", got)
	}
	set("", nil)
	if !value.Empty() {
		t.Error("with an empty text: want it empty")
	}
	if shown := fmt.Sprintf("%+v %#v", copied, struct{ v Value }{copied}); strings.Contains(shown, "pa55word") {
		t.Errorf("got %s", shown)
	}
}
