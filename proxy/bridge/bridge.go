// Package bridge translates between the eras of MCP, each direction by itself: a
// Session serves a client of the handshake era from a server of the stateless
// era, a Stateless the other way round. What crosses is moved as raw bytes and
// edited where the eras differ; what can't be translated is refused with the
// error that the reader's revision has for it. The package knows no transport and
// no policy.
//
// Runs in: proxy.
package bridge
