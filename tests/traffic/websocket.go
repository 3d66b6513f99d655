package traffic

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/coder/websocket"
)

type webSocketSession struct {
	conn  *websocket.Conn
	era   Era
	calls int
}

// WebSocket opens a session at a URL of the gateway's WebSocket transport.
func WebSocket(address, key string, era Era) (Session, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, response, err := websocket.Dial(ctx, address, &websocket.DialOptions{
		Subprotocols: []string{"mcp"}, HTTPHeader: http.Header{"Authorization": {"Bearer " + key}},
	})
	if err != nil {
		return nil, err
	}
	if response.Body != nil {
		response.Body.Close()
	}
	s := &webSocketSession{conn: conn, era: era}
	if err := begin(s, era); err != nil {
		return nil, errors.Join(err, conn.CloseNow())
	}
	return s, nil
}

func (s *webSocketSession) Call() error {
	s.calls++
	answer, err := s.ask(s.era.call(s.calls))
	if err != nil {
		return err
	}
	return check(answer)
}

func (s *webSocketSession) send(message []byte) error {
	return s.conn.Write(context.Background(), websocket.MessageText, message)
}

func (s *webSocketSession) ask(message []byte) ([]byte, error) {
	if err := s.send(message); err != nil {
		return nil, err
	}
	_, answer, err := s.conn.Read(context.Background())
	return answer, err
}

func (s *webSocketSession) Close() error { return s.conn.Close(websocket.StatusNormalClosure, "") }

// stream is a session over what carries messages both ways.
type stream interface {
	Session
	send(message []byte) error
	ask(message []byte) ([]byte, error)
}

// begin has the handshake of an era that wants one, and makes the first call, whose
// waiting is not measured.
func begin(s stream, era Era) error {
	if era == Handshake {
		answer, err := s.ask([]byte(initialize))
		if err != nil {
			return err
		}
		if !bytes.Contains(answer, []byte(`"protocolVersion"`)) {
			return fmt.Errorf("initialize: %.300q", answer)
		}
		if err := s.send([]byte(initialized)); err != nil {
			return err
		}
	}
	return s.Call()
}
