// Command testserver is a small MCP server over stdio for tests: a well-behaved
// peer that shows what a server can see and do in its sandbox, and one that
// misbehaves when it is told to. It is written by hand on the standard library,
// so that it shares no code and no mistake with the gateway. It refuses nothing:
// never run it where its caller may not do what it offers.
//
// Runs in: the sandbox, in tests. Build it with CGO_ENABLED=0, so that it needs
// no library inside.
//
// It speaks the revisions 2024-11-05 to 2025-11-25: initialize, ping, tools/list
// and tools/call. It is strict about their order: a request before initialize
// and notifications/initialized is an error, and so is a second initialize. A
// batch is refused. It ends with status 0 at the end of its standard input.
//
// Tools, with their arguments:
//
//	echo {...}                        the arguments' bytes untouched, as text and as structuredContent
//	big {bytes}                       a text of so many bytes
//	counters {}                       structuredContent {calls, cancelled}: tool calls started and cancelled so far
//	status {}                         /proc/self/status
//	env {}                            the environment, sorted, one variable per line
//	read_file {path}                  a file's content
//	write_file {path, content, mode}  write a file, then give it the mode if there is one ("4755")
//	list_dir {path}                   names as text; structuredContent {entries: [{name, mode, uid, gid, size}]}
//	chmod {path, mode}                change a mode ("4755"); answers with the mode it then has
//	run {argv, stdin}                 run a program: output as text; structuredContent {status, output}
//	connect {network, address}        connect as Go's net.Dial does, within 5 seconds
//	sleep {seconds}                   answers after so long; ten notes of progress if the caller gave a token
//	sample {prompt}                   asks the client (sampling/createMessage); answers with the client's result
//
// A tool that fails answers with isError. A cancelled call gets no answer
// (2025-11-25, basic/utilities/cancellation).
//
// Misbehaviours are tools with an optional argument n, and what the flags
// -misbehave KIND -n N do before the server serves:
//
//	exit          end with status n (1)
//	crash         end by signal n (11), without a core file
//	hang          never answer; with the flag: read everything, answer nothing
//	close-stdout  close standard output and stay alive
//	garbage       write n (10) lines that are not JSON, then answer
//	endless-line  write n (100) MiB without a newline and never answer
//	flood-stderr  write n (100) MiB to standard error, then answer
//	fork          leave n (3) children and n detached grandchildren (two forks and setsid) that ignore
//	              SIGTERM and hold standard output open; answer with their process ids, one per line
//	forkbomb      start up to n (1000) processes that stay; answer with how many there are and why no more
//	memory        take n (64) MiB, touch every page and keep it
//	cpu           keep every processor busy for n (10) seconds
//	rug-pull      list the tools n (1) times, and then with another description of echo, which tells a model to
//	              pass on a secret; says that the list has changed. With n = 0 at once
//	hide          put hidden text into the description of echo, the name of env, and the instructions
//	no-read       answer and never read standard input again; with the flag: never read it
//
// Without n the number in parentheses holds. Processes left behind, and a server
// that no longer reads, end by themselves after ten minutes.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
)

func main() {
	var (
		kind  = flag.String("misbehave", "", "misbehave in this way from the start")
		n     = flag.Int("n", 0, "how much; 0 is the kind's default")
		child = flag.String("child", "", "be a process that fork and forkbomb leave behind (internal)")
	)
	flag.Parse()
	if err := run(*kind, *n, *child); err != nil {
		fmt.Fprintln(os.Stderr, "testserver:", err)
		os.Exit(1)
	}
}

func run(kind string, n int, child string) error {
	if child != "" {
		return beChild(child)
	}
	s := newServer(os.Stdin, os.Stdout, os.Stderr)
	ctx := context.Background()
	if kind != "" {
		if err := s.misbehaveFirst(ctx, kind, n); err != nil {
			return err
		}
	}
	return s.serve(ctx)
}
