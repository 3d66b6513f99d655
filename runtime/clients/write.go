package clients

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Text writes entries as a part of the gateway's configuration, each line after indent.
func Text(entries []Entry, indent string) string {
	var b strings.Builder
	for i, e := range entries {
		if i > 0 {
			b.WriteByte('\n')
		}
		e.write(&b, indent)
	}
	return b.String()
}

// Document is a whole configuration with entries.
func Document(entries []Entry) string {
	if len(entries) == 0 {
		return "version: \"1.0\"\n\nservers: {}\n"
	}
	return "version: \"1.0\"\n\nservers:\n" + Text(entries, "  ")
}

func (e Entry) write(b *strings.Builder, indent string) {
	fmt.Fprintf(b, "%s%s:\n", indent, key(e.Name))
	line := func(format string, args ...any) { fmt.Fprintf(b, indent+"  "+format+"\n", args...) }
	for _, c := range e.Comments {
		line("# %s", remark(c))
	}
	if e.Off {
		line("enabled: false")
	}
	line("command: %s", quote(e.Command))
	for _, list := range []struct {
		name  string
		texts []string
	}{{"args", e.Args}, {"mounts", e.Mounts}, {"allowed_directories", e.Directories}} {
		if len(list.texts) > 0 {
			line("%s: %s", list.name, quoteAll(list.texts))
		}
	}
	if e.Dir != "" {
		line("working_directory: %s", quote(e.Dir))
	}
	if e.Profile != "" {
		line("profile: %s", e.Profile)
	}
	if len(e.Network) > 0 {
		line("network: %s", quoteAll(e.Network))
	}
	if len(e.Env) == 0 {
		return
	}
	line("env:")
	about := map[string]string{}
	for _, s := range e.Secrets {
		about[s.Variable] = "  # " + remark(s.About)
	}
	for _, name := range slices.Sorted(maps.Keys(e.Env)) {
		line("  %s: %s%s", key(name), quote(e.Env[name]), about[name])
	}
}

// remark keeps a text on its line, and what is in it in sight.
func remark(text string) string {
	quoted := strconv.Quote(text)
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}

// quote writes a text so that YAML reads the same, and nothing in it is hidden: Go's
// escapes are YAML's.
func quote(text string) string { return strconv.Quote(text) }

func quoteAll(texts []string) string {
	quoted := make([]string, len(texts))
	for i, text := range texts {
		quoted[i] = quote(text)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

var bareKey = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_-]*$`)

// key writes a key, between quotes if YAML could take it for something else.
func key(name string) string {
	switch strings.ToLower(name) {
	case "true", "false", "null", "yes", "no", "on", "off", "y", "n":
		return quote(name)
	}
	if bareKey.MatchString(name) {
		return name
	}
	return quote(name)
}

// Add puts entries into a configuration, above the servers that are there, and changes
// nothing else. It refuses names that are taken.
func Add(content []byte, entries []Entry) ([]byte, error) {
	var root yaml.Node
	if len(bytes.TrimSpace(content)) > 0 {
		if err := yaml.Unmarshal(content, &root); err != nil {
			return nil, fmt.Errorf("not valid YAML: %w", err)
		}
	}
	if len(root.Content) == 0 {
		return append(bytes.Clone(content), "servers:\n"+Text(entries, "  ")...), nil
	}
	top := root.Content[0]
	if top.Kind != yaml.MappingNode || top.Style&yaml.FlowStyle != 0 {
		return nil, errors.New("it is not written in lines: write one key to a line")
	}
	name, servers := find(top, "servers")
	if name == nil {
		text := "\nservers:\n" + Text(entries, "  ")
		if !bytes.HasSuffix(content, []byte("\n")) {
			text = "\n" + text
		}
		return append(bytes.Clone(content), text...), nil
	}
	for _, e := range entries {
		if taken, _ := find(servers, e.Name); taken != nil {
			return nil, fmt.Errorf("there is a server %q already, in line %d: rename one of them", e.Name, taken.Line)
		}
	}
	return insert(content, name, servers, entries)
}

// find gives a key of a mapping and its value.
func find(mapping *yaml.Node, name string) (key, value *yaml.Node) {
	for i := 0; i+1 < len(mapping.Content) && mapping.Kind == yaml.MappingNode; i += 2 {
		if mapping.Content[i].Value == name {
			return mapping.Content[i], mapping.Content[i+1]
		}
	}
	return nil, nil
}

// insert puts entries right below the line of the key, where no comment is torn from what
// it is about.
func insert(content []byte, name, servers *yaml.Node, entries []Entry) ([]byte, error) {
	lines := bytes.SplitAfter(content, []byte("\n"))
	line := lines[name.Line-1]
	indent := strings.Repeat(" ", name.Column+1)
	switch {
	case servers.Kind == yaml.MappingNode && servers.Style&yaml.FlowStyle != 0 && len(servers.Content) == 0 && servers.Line == name.Line:
		line = bytes.Replace(line, []byte("{}"), nil, 1)
	case servers.Kind == yaml.MappingNode && servers.Style&yaml.FlowStyle == 0:
		indent = strings.Repeat(" ", servers.Content[0].Column-1)
	case servers.Kind == yaml.ScalarNode && servers.Tag == "!!null" && servers.Value == "":
	default:
		return nil, fmt.Errorf("servers, in line %d, is not written in lines: write one server below the other", name.Line)
	}
	if !bytes.HasSuffix(line, []byte("\n")) {
		line = append(bytes.Clone(line), '\n')
	}
	text := Text(entries, indent)
	if servers.Kind == yaml.MappingNode && len(servers.Content) > 0 {
		text += "\n"
	}
	return slices.Concat(bytes.Join(lines[:name.Line-1], nil), line, []byte(text), bytes.Join(lines[name.Line:], nil)), nil
}
