package egress

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/miekg/dns"

	"mcpgateway/policy"
)

// namesTTL is how long programs remember an address, in seconds.
const namesTTL = 60

// dnsPort is the port of the records about names.
const dnsPort = 53

// serveUDP answers one query after the other: a sandbox that floods fills its own
// socket's buffer and no memory of the proxy's.
func (e *egress) serveUDP(ctx context.Context, socket *net.UDPConn) {
	packet := make([]byte, maxQuery+1)
	for {
		n, from, err := socket.ReadFromUDPAddrPort(packet)
		if ctx.Err() != nil || e.queries.Wait(ctx) != nil {
			return
		}
		if err != nil {
			if !pause(ctx, acceptPause) {
				return
			}
			continue
		}
		if reply := e.answer(packet[:n]); reply != nil {
			_, _ = socket.WriteToUDPAddrPort(reply, from) // a client that is gone asks no more
		}
	}
}

// admitQueries bounds the connections to the name server.
func (e *egress) admitQueries(ctx context.Context) func(*net.TCPConn) {
	slots := make(chan struct{}, maxNameConns)
	return func(conn *net.TCPConn) {
		select {
		case slots <- struct{}{}:
			e.running.Go(func() {
				defer func() { <-slots }()
				e.serveTCP(ctx, conn)
			})
		default:
			reset(conn)
		}
	}
}

// serveTCP answers the queries of one connection.
func (e *egress) serveTCP(ctx context.Context, conn *net.TCPConn) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	stream := &dns.Conn{Conn: conn}
	packet := make([]byte, maxQuery)
	for {
		if err := conn.SetDeadline(time.Now().Add(queryWait)); err != nil {
			return
		}
		n, err := stream.Read(packet) // an error for one that is longer
		if err != nil || e.queries.Wait(ctx) != nil {
			return
		}
		reply := e.answer(packet[:n])
		if reply == nil {
			return
		}
		if _, err := stream.Write(reply); err != nil {
			return
		}
	}
}

// answer is the name server: the reply to one packet, nil for none. Everything but
// the address of an allowed name is an empty answer or an error at once, so that
// no program waits for what will not come.
func (e *egress) answer(packet []byte) []byte {
	var query dns.Msg
	if len(packet) < 12 || packet[2]&0x80 != 0 { // no header, or a reply, which two servers would exchange for ever
		return nil
	}
	err := query.Unpack(packet)
	var reply dns.Msg
	reply.SetReply(&query)
	reply.RecursionAvailable = true
	reply.Compress = true
	switch {
	case len(packet) > maxQuery || err != nil || query.Opcode == dns.OpcodeQuery && len(query.Question) != 1:
		reply.Rcode, reply.Question = dns.RcodeFormatError, nil
	case query.Opcode != dns.OpcodeQuery:
		reply.Rcode, reply.Question = dns.RcodeNotImplemented, nil
	case query.Question[0].Qclass != dns.ClassINET:
		reply.Rcode = dns.RcodeRefused
	default:
		e.resolveInside(query.Question[0], &reply)
	}
	if query.IsEdns0() != nil && err == nil {
		reply.SetEdns0(maxQuery, false)
	}
	packed, err := reply.Pack()
	if err != nil {
		return nil
	}
	return packed
}

// resolveInside answers one question. The name in the answer is written as in the
// question: resolvers that mix cases compare them.
func (e *egress) resolveInside(question dns.Question, reply *dns.Msg) {
	name, err := policy.ParseName(question.Name)
	if err != nil || !e.Rules.allowsName(name) {
		reply.Rcode = dns.RcodeNameError
		e.refuseName(question.Name)
		return
	}
	if question.Qtype == dns.TypeA {
		reply.Answer = []dns.RR{&dns.A{
			Hdr: dns.RR_Header{Name: question.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: namesTTL},
			A:   e.names.address(name).AsSlice(),
		}}
	}
}

// refuseName records a name that is not allowed, once in a while.
func (e *egress) refuseName(name string) {
	name = cut(strings.TrimSuffix(name, "."))
	if e.refusals.repeats(name, time.Now()) {
		return
	}
	e.refuse(Record{Name: name, Port: dnsPort, Reason: fmt.Sprintf("%s is not in the profile's network.allow", name)})
}
