package traffic

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// patience is how long a call may take at most.
const patience = 30 * time.Second

// httpSession speaks HTTP/1.1 over one connection. It knows as much of it as servers of
// MCP use: net/http's client costs three times as much CPU as this one, which is more
// than the server that is measured.
type httpSession struct {
	conn     net.Conn
	answers  *bufio.Reader
	head     string // of a request, up to the length of its body
	era      Era
	calls    int
	id       string // of the session
	request  []byte
	response []byte
	length   int // of the body to come
	chunked  bool
}

// HTTP opens a session at a URL of Streamable HTTP. Without a key none is sent.
func HTTP(address, key string, era Era) (Session, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	conn, err := net.DialTimeout("tcp", u.Host, patience)
	if err != nil {
		return nil, err
	}
	s := &httpSession{conn: conn, answers: bufio.NewReaderSize(conn, 16<<10), era: era}
	head := "POST " + u.RequestURI() + " HTTP/1.1\r\nHost: " + u.Host + "\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n"
	if key != "" {
		head += "Authorization: Bearer " + key + "\r\n"
	}
	s.head = head + "Content-Length: "
	if era == Handshake {
		err = s.initialize()
		head += "MCP-Protocol-Version: 2025-11-25\r\n"
		if s.id != "" {
			head += "Mcp-Session-Id: " + s.id + "\r\n"
		}
	} else {
		head += "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: echo\r\n"
	}
	s.head = head + "Content-Length: "
	if err == nil && era == Handshake {
		err = s.post([]byte(initialized))
	}
	if err == nil {
		err = s.Call() // what a first call has to wait for is not measured
	}
	if err != nil {
		return nil, errors.Join(err, s.conn.Close())
	}
	return s, nil
}

// Refusal is an answer that is not the one that was asked for.
type Refusal struct{ Answer string }

func (r *Refusal) Error() string { return "unexpected answer: " + r.Answer }

// Fetch opens a session, asks the echo tool for so many letters, and says how long
// the answer took. Its error is a *Refusal if there were not so many in it.
func Fetch(address, key string, era Era, letters int) (took time.Duration, err error) {
	opened, err := HTTP(address, key, era)
	if err != nil {
		return 0, err
	}
	s := opened.(*httpSession)
	defer func() { err = errors.Join(err, s.Close()) }()
	s.response = make([]byte, 0, letters+4096) // what the client needs is not measured
	begun := time.Now()
	if err := s.post(era.ask(1, fmt.Sprintf(`{"letters":%d}`, letters))); err != nil {
		return 0, err
	}
	took = time.Since(begun)
	if got := bytes.Count(s.response, []byte("x")); got < letters {
		return 0, &Refusal{fmt.Sprintf("%.200s", s.response)}
	}
	return took, nil
}

func (s *httpSession) initialize() error {
	if err := s.post([]byte(initialize)); err != nil {
		return err
	}
	if !bytes.Contains(s.response, []byte(`"protocolVersion"`)) {
		return fmt.Errorf("initialize: %.300q", s.response)
	}
	return nil
}

func (s *httpSession) Call() error {
	s.calls++
	if err := s.post(s.era.call(s.calls)); err != nil {
		return err
	}
	return check(s.response)
}

func (s *httpSession) Close() error {
	if s.id == "" {
		return s.conn.Close()
	}
	request := "DELETE " + strings.TrimPrefix(s.head, "POST ") + "0\r\n\r\n"
	_, err := s.conn.Write([]byte(request))
	if err == nil {
		_, err = s.read()
	}
	return errors.Join(err, s.conn.Close())
}

// post sends a body and reads the answer into response.
func (s *httpSession) post(body []byte) error {
	s.request = append(s.request[:0], s.head...)
	s.request = strconv.AppendInt(s.request, int64(len(body)), 10)
	s.request = append(s.request, "\r\n\r\n"...)
	s.request = append(s.request, body...)
	if err := s.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := s.conn.Write(s.request); err != nil {
		return err
	}
	status, err := s.read()
	if err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	if status != 200 && status != 202 {
		return fmt.Errorf("status %d: %.300q", status, s.response)
	}
	return nil
}

// read reads an answer, head and body.
func (s *httpSession) read() (status int, err error) {
	if status, err = s.readHead(); err != nil {
		return 0, err
	}
	s.response = s.response[:0]
	if !s.chunked {
		return status, s.take(s.length)
	}
	return status, s.chunks()
}

// readHead reads an answer up to its body.
func (s *httpSession) readHead() (status int, err error) {
	line, err := s.answers.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return 0, fmt.Errorf("status line %.100q", line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, err
	}
	s.length, s.chunked = 0, false
	for {
		if line, err = s.answers.ReadSlice('\n'); err != nil {
			return 0, err
		}
		name, value, found := bytes.Cut(bytes.TrimSpace(line), []byte(":"))
		if !found {
			return status, nil
		}
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if s.length, err = strconv.Atoi(string(value)); err != nil {
				return 0, err
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			s.chunked = bytes.EqualFold(value, []byte("chunked"))
		case bytes.EqualFold(name, []byte("Mcp-Session-Id")) && s.id == "":
			s.id = string(value)
		}
	}
}

// take appends n bytes to response.
func (s *httpSession) take(n int) error {
	have := len(s.response)
	s.response = slices.Grow(s.response, n)[:have+n]
	_, err := io.ReadFull(s.answers, s.response[have:])
	return err
}

func (s *httpSession) chunks() error {
	for {
		line, err := s.answers.ReadSlice('\n')
		if err != nil {
			return err
		}
		n, err := strconv.ParseUint(string(bytes.TrimSpace(line)), 16, 31)
		if err != nil {
			return err
		}
		if err := s.take(int(n)); err != nil {
			return err
		}
		if _, err := s.answers.Discard(2); err != nil {
			return err
		}
		if n == 0 {
			return nil
		}
	}
}

// Leave closes a session's connection as a client does that is gone without a word.
func Leave(s Session) error { return s.(*httpSession).conn.Close() }

// Listen opens the stream of what a session is told unasked, which takes its connection:
// no call can be made by it any more.
func Listen(s Session) error {
	h := s.(*httpSession)
	request := "GET " + strings.TrimSuffix(strings.TrimPrefix(h.head, "POST "), "Content-Length: ") + "\r\n"
	if err := h.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := h.conn.Write([]byte(request)); err != nil {
		return err
	}
	status, err := h.readHead()
	if err == nil && status != 200 {
		err = fmt.Errorf("status %d of a stream", status)
	}
	return err
}
