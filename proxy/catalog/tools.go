package catalog

import "context"

// Tools asks a server for all its tools, and remembers nothing: raw definitions in the
// server's order, within the bounds of what one server lists. An error with definitions
// says that there are more.
func Tools(ctx context.Context, m Member) (definitions [][]byte, err error) {
	l, err := fetch(ctx, question{member: m, kind: tools})
	if err != nil {
		return nil, err
	}
	for _, item := range l.items {
		definitions = append(definitions, item.raw)
	}
	return definitions, l.over
}
