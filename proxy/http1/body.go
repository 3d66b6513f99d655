package http1

import (
	"io"
	"net/http"
)

// body is that of the request under way.
type body struct {
	conn *conn
	left int64 // that was not read
	gone bool  // closed by its reader
}

// Read reads by the deadline that the handler has set last.
func (b *body) Read(p []byte) (int, error) {
	switch {
	case b.gone:
		return 0, http.ErrBodyReadAfterClose
	case b.left == 0:
		return 0, io.EOF
	}
	n, err := b.conn.read(p[:min(int64(len(p)), b.left)])
	if b.left -= int64(n); b.left == 0 {
		b.conn.watch()
	}
	if err == io.EOF { //nolint:errorlint // it is read's own
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// Close ends the reading. What is left ends the connection.
func (b *body) Close() error {
	b.gone = true
	return nil
}
