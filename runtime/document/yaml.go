package document

import (
	"bytes"
	"errors"
	"io"

	"go.yaml.in/yaml/v4"
)

// readYAML returns the document's tree, or nil with the error recorded.
func (r *Report) readYAML(document []byte) *yaml.Node {
	var first, second yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(document))
	err := decoder.Decode(&first)
	if errors.Is(err, io.EOF) {
		return newNode(yaml.MappingNode, "!!map", "", Position{})
	}
	if err == nil {
		err = decoder.Decode(&second)
	}
	var load *yaml.LoadError
	switch {
	case err == nil:
		r.syntax(Position{second.Line, second.Column}, "a second document begins here: one file holds one configuration")
	case errors.Is(err, io.EOF):
		return first.Content[0]
	case errors.As(err, &load):
		r.syntax(Position{load.Mark.Line, load.Mark.Column}, "not valid YAML: "+load.Message+" "+load.ContextMsg)
	default:
		r.syntax(Position{}, "not valid YAML: "+err.Error())
	}
	return nil
}

// newNode makes what another format says a part of the one tree.
func newNode(kind yaml.Kind, tag, value string, at Position) *yaml.Node {
	return &yaml.Node{Kind: kind, Tag: tag, Value: value, Line: at.Line, Column: at.Column}
}
