package health

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"mcpgateway/proxy/backend"
	"mcpgateway/proxy/mcp"
)

// listing is what an instance had in its list of tools when it was well.
type listing struct {
	asked   bool
	listed  bool  // there was a list
	some    bool  // with tools in it
	changes int64 // how often it had said that they are others
	well    bool  // as of the last look
}

// look asks for the tools again. A list that has become an error, or empty, is an error,
// unless the server has said that its tools are others.
func (l *listing) look(ctx context.Context, conn *backend.Conn) error {
	changes := conn.ToolChanges()
	answer, err := conn.ListTools(ctx)
	if errors.Is(err, backend.ErrOccupied) {
		return err
	}
	l.well = false
	if err != nil {
		return err
	}
	listed, some := tools(answer)
	if l.asked && l.changes == changes {
		switch {
		case l.listed && answer.Err() != nil:
			return fmt.Errorf("it answered tools/list with an error (code %.20q), and had a list before", answer.At(answer.InError("code")))
		case l.listed && !listed:
			return errors.New("it answered tools/list without a list, and had one before")
		case l.some && !some:
			return errors.New("all its tools are gone, and it did not say so")
		}
	}
	*l = listing{asked: true, listed: listed, some: some, changes: changes, well: true}
	return nil
}

// tools reports whether an answer has a list of tools, and whether there are any.
func tools(answer mcp.Message) (listed, some bool) {
	list := bytes.TrimSpace(answer.At(answer.InResult("tools")))
	if len(list) == 0 || list[0] != '[' {
		return false, false
	}
	// Some servers begin with an empty page.
	return true, len(bytes.TrimSpace(list[1:len(list)-1])) > 0 || !answer.InResult("nextCursor").Empty()
}
