package http1

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// site is a server, with net/http's behind it.
type site struct {
	*testing.T
	server *Server
	others *http.Server
	passed chan string // the addresses of whom was passed on
	stop   func()
}

type requestKey struct{}

var patient = Waits{Headers: time.Minute, Park: time.Hour, Idle: 2 * time.Hour}

func newSite(t *testing.T, waits Waits, handler http.HandlerFunc) *site {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &site{T: t, passed: make(chan string, 1000)}
	s.server, err = New(l, Config{
		Handler: handler, Waits: waits, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Context: func(net.Conn) context.Context { return context.WithValue(context.Background(), requestKey{}, "here") },
	})
	if err != nil {
		t.Fatal(err)
	}
	s.others = &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	s.others.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		s.passed <- conn.RemoteAddr().String()
		return ctx
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		if err := s.others.Serve(s.server); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	}()
	s.stop = sync.OnceFunc(func() {
		s.server.Close()
		s.server.Shutdown(t.Context()) // which is over at the end of a test
		s.others.Close()
		<-over
	})
	t.Cleanup(s.stop)
	return s
}

type client struct {
	*site
	net.Conn
	in *bufio.Reader
}

func (s *site) dial() client {
	s.Helper()
	conn, err := net.Dial("tcp", s.server.Addr().String())
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { conn.Close() })
	return client{s, conn, bufio.NewReader(conn)}
}

func (c client) send(text string) {
	c.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.Error(err)
	}
}

// answer is what a client can see of one.
type answer struct {
	status   int
	header   http.Header
	body     string
	length   int64
	encoding []string
	last     bool
}

func (c client) receive(method string) (a answer, err error) {
	response, err := http.ReadResponse(c.in, &http.Request{Method: method})
	if err != nil {
		return a, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, response.Header, string(body), response.ContentLength, response.TransferEncoding, response.Close}, err
}

func (c client) wants(want string) answer {
	c.Helper()
	got, err := c.receive("POST")
	if err != nil || got.body != want {
		c.Errorf("got %q, %v, want %q", got.body, err, want)
	}
	return got
}

// ends waits for the end of the connection.
func (c client) ends() {
	c.Helper()
	if b, err := c.in.ReadByte(); !errors.Is(err, io.EOF) {
		c.Errorf("got %q, %v, want the end", b, err)
	}
}

// holds waits until there are so many connections, and so many of them parked.
func (s *site) holds(all, parked int) {
	s.Helper()
	s.eventually(fmt.Sprintf("%d connections, %d of them parked", all, parked), func() bool {
		s.server.mu.Lock()
		defer s.server.mu.Unlock()
		s.server.parked.mu.Lock()
		defer s.server.parked.mu.Unlock()
		return len(s.server.conns) == all && len(s.server.parked.here) == parked
	})
}

func (s *site) eventually(what string, is func() bool) {
	s.Helper()
	for end := time.Now().Add(30 * time.Second); !is(); <-time.After(time.Millisecond) {
		if time.Now().After(end) {
			s.Fatalf("got no %s", what)
		}
	}
}

const request = "POST /%s HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nyou"

// echo answers with all that it was asked.
func echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	fmt.Fprintf(w, "%s %s %s\n", r.Method, r.RequestURI, r.Host)
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		fmt.Fprintf(w, "%s=%q\n", name, r.Header[name])
	}
	_, _ = w.Write(body)
}

// greet answers, after as long as the request says.
func greet(w http.ResponseWriter, r *http.Request) {
	if took, err := time.ParseDuration(r.URL.Query().Get("take")); err == nil {
		select {
		case <-time.After(took):
		case <-r.Context().Done():
			return
		}
	}
	body, err := io.ReadAll(r.Body)
	if err == nil {
		fmt.Fprintf(w, "%s %s", r.URL.Path, body)
	}
}

// Requests of any form are answered as net/http answers them, on the same connection as
// often.
func TestAnswersAreThoseOfNetHTTP(t *testing.T) {
	t.Parallel()
	s := newSite(t, patient, echo)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	reference := http.Server{Handler: http.HandlerFunc(echo), ReadHeaderTimeout: time.Minute}
	go func() { _ = reference.Serve(l) }()
	t.Cleanup(func() { reference.Close() })
	const good = "POST /good HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\ngood"
	for head, here := range heads {
		for _, body := range []string{"", "5\r\nhello\r\n0\r\n\r\n", "0123456789ab"} {
			text := good + head + "\r\n" + body
			var got [2][]answer
			for i, address := range []string{s.server.Addr().String(), l.Addr().String()} {
				conn, err := net.Dial("tcp", address)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				c := client{s, conn, bufio.NewReader(conn)}
				c.send(text)
				if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
					t.Fatal(err)
				}
				for {
					a, err := c.receive(strings.SplitN(head, " ", 2)[0])
					if err != nil {
						break
					}
					a.header.Del("Date")
					if a.status == http.StatusOK {
						a.header.Del("Content-Type") // net/http guesses it
					} else {
						a.last = true // net/http keeps some that have ended
					}
					got[i] = append(got[i], a)
				}
			}
			if fmt.Sprint(got[0]) != fmt.Sprint(got[1]) {
				t.Errorf("%q:\ngot  %+v\nwant %+v", text, got[0], got[1])
			}
			if len(got[0]) == 0 {
				t.Errorf("%q: got no answer", text)
			}
		}
		c := s.dial()
		c.send(head + "\r\n")
		if !here {
			if got := <-s.passed; got != c.LocalAddr().String() {
				s.until(c.LocalAddr().String())
			}
		}
	}
}

// until waits until a client has been passed on.
func (s *site) until(address string) {
	for got := range s.passed {
		if got == address {
			return
		}
	}
}

// A request that comes in pieces, or with others, is served as any other.
func TestPieces(t *testing.T) {
	t.Parallel()
	s := newSite(t, patient, greet)
	c := s.dial()
	for _, piece := range strings.SplitAfter(fmt.Sprintf(request, "pieces"), "") {
		c.send(piece)
		<-time.After(100 * time.Microsecond) // or else the kernel makes one of them
	}
	c.wants("/pieces you")
	c.send(fmt.Sprintf(request, "a") + fmt.Sprintf(request, "b?take=100ms") + fmt.Sprintf(request, "c")) // at once
	for _, want := range []string{"/a you", "/b you", "/c you"} {
		c.wants(want)
	}
	long := strings.Repeat("y", 100_000)
	c.send("POST /long HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + long[:1])
	c.send(long[1:])
	c.wants("/long " + long)
	c.send(strings.Replace(fmt.Sprintf(request, "head"), "Host", "X: "+long[:9000]+"\r\nHost", 1))
	c.wants("/head you") // net/http's
	if len(s.passed) != 1 {
		t.Errorf("got %d passed on, want one", len(s.passed))
	}
}

func TestForms(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("z", 3*bufferSize)
	s := newSite(t, patient, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		h := w.Header()
		switch r.URL.Path {
		case "/told":
			h.Set("Content-Length", "5")
			_, _ = io.WriteString(w, "told\n")
		case "/short":
			h.Set("Content-Length", "5")
			_, _ = io.WriteString(w, "tol")
		case "/more":
			h.Set("Content-Length", "4")
			_, _ = io.WriteString(w, "told")
			if _, err := io.WriteString(w, "\n"); !errors.Is(err, http.ErrContentLength) {
				t.Errorf("more than told: got %v", err)
			}
		case "/long":
			_, _ = io.WriteString(w, long)
		case "/longtold":
			h.Set("Content-Length", fmt.Sprint(len(long)))
			_, _ = io.WriteString(w, long)
		case "/stream":
			_, _ = io.WriteString(w, "a")
			w.(http.Flusher).Flush()
			_, _ = io.WriteString(w, "bc")
			_ = http.NewResponseController(w).Flush()
			_, _ = io.WriteString(w, long)
		case "/empty":
			w.WriteHeader(http.StatusAccepted)
			w.WriteHeader(http.StatusOK) // says nothing any more
		case "/none":
			w.WriteHeader(http.StatusNoContent)
			if _, err := io.WriteString(w, "x"); !errors.Is(err, http.ErrBodyNotAllowed) {
				t.Errorf("a body without one: got %v", err)
			}
		case "/headers":
			h["X"] = []string{"a\r\nY: b", "c\x00d"}
			h["Bad\r\nName"] = []string{"e"}
			h["Bad: Name"] = []string{"f"}
		case "/close":
			h.Set("Connection", "close")
			_, _ = io.WriteString(w, "bye")
		case "/panic":
			panic("a bug")
		case "/abort":
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
	})
	for _, test := range []struct {
		path     string
		status   int
		body     string
		length   int64
		encoding string
		fails    bool // the answer is not complete
		ends     bool
	}{
		{"told", 200, "told\n", 5, "[]", false, false},
		{"short", 200, "", 5, "[]", true, true},
		{"more", 200, "told", 4, "[]", false, false},
		{"long", 200, long, -1, "[chunked]", false, false},
		{"longtold", 200, long, int64(len(long)), "[]", false, false},
		{"stream", 200, "abc" + long, -1, "[chunked]", false, false},
		{"empty", 202, "", 0, "[]", false, false},
		{"none", 204, "", 0, "[]", false, false},
		{"headers", 200, "", 0, "[]", false, false},
		{"close", 200, "bye", 3, "[]", false, true},
		{"panic", 0, "", 0, "[]", true, true},
		{"abort", 200, "", -1, "[chunked]", true, true},
	} {
		c := s.dial()
		for range 2 {
			c.send(fmt.Sprintf(request, test.path))
			got, err := c.receive("POST")
			if (err != nil) != test.fails {
				t.Errorf("%s: got error %v", test.path, err)
			}
			if !test.fails && (got.status != test.status || got.body != test.body || got.length != test.length || fmt.Sprint(got.encoding) != test.encoding || got.last != test.ends) {
				t.Errorf("%s: got %+v", test.path, got)
			}
			if test.path == "headers" {
				if want := []string{"a  Y: b", "c d"}; !slices.Equal(got.header["X"], want) || len(got.header) != 3 {
					t.Errorf("got headers %q", got.header)
				}
			}
			if test.ends {
				c.ends()
				break
			}
		}
	}
	if len(s.passed) > 0 {
		t.Errorf("got %d passed on", len(s.passed))
	}
}

// A request that takes long, or whose answer does, has no buffers meanwhile.
func TestNothingIsHeld(t *testing.T) {
	t.Parallel()
	s := newSite(t, patient, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		answer := w.(*response)
		for range 2 {
			if c := answer.conn; c.in != nil || answer.out != nil || answer.held != nil {
				t.Errorf("got buffers: %v, %v, %v", c.in != nil, answer.out != nil, answer.held != nil)
			}
			_, _ = io.WriteString(w, "a")
			_ = answer.FlushError()
		}
	})
	c := s.dial()
	for range 2 {
		c.send(fmt.Sprintf(request, "x"))
		c.wants("aa")
	}
}

// Who is parked is served as if nothing had been, however often.
func TestParkedIsServed(t *testing.T) {
	t.Parallel()
	s := newSite(t, Waits{Headers: time.Hour, Park: time.Millisecond, Idle: time.Hour}, greet)
	c, other := s.dial(), s.dial()
	other.send(fmt.Sprintf(request, "other"))
	other.wants("/other you")
	for i := range 3 {
		c.send(fmt.Sprintf(request, fmt.Sprint(i)))
		c.wants(fmt.Sprintf("/%d you", i))
		s.holds(2, 2)
	}
	c.send("POST /parts HTTP/1.1\r\nHost: x\r\n")
	s.holds(2, 1)
	c.send("Content-Length: 3\r\n\r\n")
	c.send("you")
	c.wants("/parts you")
	s.holds(2, 2)
	c.send("PUT /rare HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nyou")
	c.wants("/rare you")
	s.holds(1, 1)
	other.Close()
	s.holds(0, 0)
}

// What has not asked yet, or waits for its answer, is in use.
func TestUsedIsNotParked(t *testing.T) {
	t.Parallel()
	s := newSite(t, Waits{Headers: time.Hour, Park: time.Millisecond, Idle: time.Hour}, greet)
	c := s.dial()
	<-time.After(50 * time.Millisecond)
	s.holds(1, 0)
	c.send("POST /slow?take=300ms HTTP/1.1\r\n")
	<-time.After(50 * time.Millisecond)
	s.holds(1, 0)
	c.send("Host: x\r\nContent-Length: 0\r\n\r\n")
	<-time.After(50 * time.Millisecond)
	s.holds(1, 0)
	c.wants("/slow ")
}

func TestParkedEnds(t *testing.T) {
	t.Parallel()
	s := newSite(t, Waits{Headers: time.Hour, Park: time.Millisecond, Idle: 50 * time.Millisecond}, greet)
	c := s.dial()
	c.send(fmt.Sprintf(request, "x"))
	c.wants("/x you")
	c.ends() // it was unused for too long
	s.holds(0, 0)

	s = newSite(t, Waits{Headers: time.Hour, Park: time.Millisecond, Idle: time.Hour}, greet)
	c = s.dial()
	c.send(fmt.Sprintf(request, "x"))
	c.wants("/x you")
	s.holds(1, 1)
	s.stop()
	c.ends()
	if _, err := s.server.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got error %v", err)
	}
}

// Whenever a request comes, be it in the moment of parking, it is served.
func TestRequestsMeetParking(t *testing.T) {
	t.Parallel()
	s := newSite(t, Waits{Headers: time.Hour, Park: 2 * time.Millisecond, Idle: time.Hour}, greet)
	var running sync.WaitGroup
	for i := range 16 {
		c := s.dial()
		running.Go(func() {
			for n := range 100 {
				c.send(fmt.Sprintf(request, "x"))
				c.wants("/x you")
				<-time.After(time.Duration((i*7+n*13)%40) * 100 * time.Microsecond)
			}
		})
	}
	running.Wait()
	s.holds(16, 16)
}

// Headers have a time, however they trickle in.
func TestHeadersThatDoNotCome(t *testing.T) {
	t.Parallel()
	s := newSite(t, Waits{Headers: 50 * time.Millisecond, Park: time.Hour, Idle: time.Hour}, greet)
	s.dial().ends()
	c := s.dial()
	c.send(fmt.Sprintf(request, "x"))
	c.wants("/x you")
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			if _, err := io.WriteString(c, "P"); err != nil {
				return
			}
			<-time.After(time.Millisecond)
		}
	}()
	if _, err := c.in.ReadByte(); err == nil {
		t.Error("got an answer")
	}
	<-stopped
}

// A handler's deadlines bound what its client may take.
func TestDeadlines(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	s := newSite(t, patient, func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		soon := time.Now().Add(20 * time.Millisecond)
		if r.URL.Path == "/body" {
			_ = control.SetReadDeadline(soon)
			_, err := io.ReadAll(r.Body)
			ended <- err
			return
		}
		_, _ = io.ReadAll(r.Body)
		_ = control.SetWriteDeadline(soon)
		for err := error(nil); ; _, err = w.Write(make([]byte, 1<<20)) {
			if err != nil {
				ended <- err
				return
			}
		}
	})
	for _, path := range []string{"body", "answer"} {
		c := s.dial()
		c.send(strings.Replace(fmt.Sprintf(request, path), ": 3", ": 4", 1))
		if path == "answer" {
			c.send("!")
		}
		var late net.Error
		if err := <-ended; !errors.As(err, &late) || !late.Timeout() {
			t.Errorf("%s: got %v", path, err)
		}
	}
}

// The end of a client is the end of its request, which gets what it has sent before.
func TestClientGoes(t *testing.T) {
	t.Parallel()
	began, ended := make(chan string, 1), make(chan error, 1)
	s := newSite(t, patient, func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		began <- string(body)
		<-r.Context().Done()
		ended <- r.Context().Err()
	})
	c := s.dial()
	c.send(fmt.Sprintf(request, "x"))
	if got := <-began; got != "you" {
		t.Errorf("got %q", got)
	}
	c.Close()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	s.holds(0, 0)
}

// Watching takes nothing of the next request, whether or not it has begun.
func TestWatchTakesNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t, patient, greet)
	c := s.dial()
	for i, take := range []time.Duration{0, 2 * watchAfter, watchAfter, watchAfter - time.Millisecond, watchAfter + time.Millisecond} {
		c.send(fmt.Sprintf(request, fmt.Sprintf("%d?take=%s", i, take)))
		if i%2 == 1 {
			c.send(fmt.Sprintf(request, "next"))
		}
		c.wants(fmt.Sprintf("/%d you", i))
		if i%2 == 1 {
			c.wants("/next you")
		}
	}
}

// An answer that does not wait for the end of its request can be read, however much is
// still being sent.
func TestBodyThatNobodyReads(t *testing.T) {
	t.Parallel()
	s := newSite(t, patient, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusForbidden) })
	c := s.dial()
	c.send("POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n")
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = c.Write(bytes.Repeat([]byte("x"), 500_000))
	}()
	<-sent
	if got := c.wants("no\n"); got.status != http.StatusForbidden || !got.last {
		t.Errorf("got %+v", got)
	}
	c.ends()
}

// A server that stops answers what is under way and who has come already, and no more.
func TestStop(t *testing.T) {
	t.Parallel()
	began := make(chan struct{})
	s := newSite(t, patient, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/busy" {
			began <- struct{}{}
		}
		greet(w, r)
	})
	idle, busy, fresh, rare, silent := s.dial(), s.dial(), s.dial(), s.dial(), s.dial()
	idle.send(fmt.Sprintf(request, "x"))
	idle.wants("/x you")
	busy.send(fmt.Sprintf(request, "busy?take=200ms"))
	<-began
	s.holds(5, 0)
	if err := s.server.Close(); err != nil {
		t.Error(err)
	}
	idle.ends()
	fresh.send(fmt.Sprintf(request, "fresh"))
	if got := fresh.wants("/fresh you"); !got.last {
		t.Error("got a connection that is kept")
	}
	fresh.ends()
	rare.send("PUT /rare HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
	rare.wants("/rare ")
	busy.wants("/busy you")
	busy.ends()
	silent.ends()
	s.server.Shutdown(t.Context())
	if err := s.server.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed twice: got %v", err)
	}
}

// What does not end in time is ended.
func TestStopInTime(t *testing.T) {
	t.Parallel()
	began, ended := make(chan struct{}), make(chan struct{})
	s := newSite(t, patient, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		close(began)
		<-r.Context().Done()
		close(ended)
	})
	c := s.dial()
	c.send(fmt.Sprintf(request, "x"))
	<-began
	s.server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.server.Shutdown(ctx)
	<-ended
}

// What is no plain socket is another server's from the start.
func TestOtherConnectionsArePassedOn(t *testing.T) {
	t.Parallel()
	near, far := net.Pipe()
	defer far.Close()
	l := &one{conn: near, closed: make(chan struct{})}
	s, err := New(l, Config{Waits: patient})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.Accept(); got != near || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
	s.Close()
	if _, err := s.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

// one is a listener that one connection comes to.
type one struct {
	net.Listener
	conn   net.Conn
	closed chan struct{}
}

func (l *one) Accept() (net.Conn, error) {
	if conn := l.conn; conn != nil {
		l.conn = nil
		return conn, nil
	}
	<-l.closed
	return nil, net.ErrClosed
}

func (l *one) Close() error {
	close(l.closed)
	return nil
}
