package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Offsets in struct bpf_sk_lookup (linux/bpf.h).
const (
	lookupFamily   = 8
	lookupProtocol = 12
	lookupLocalIP4 = 40
	lookupLocalIP6 = 44
)

// answerAll makes listener answer every TCP connection to an address that is not
// loopback's, whatever its port, in the network namespace of process pid (bpf(2),
// BPF_PROG_TYPE_SK_LOOKUP), until what it returns is closed.
func answerAll(listener *os.File, pid int) (io.Closer, error) {
	socket, err := ebpf.NewMap(&ebpf.MapSpec{Name: "mcp_listener", Type: ebpf.SockMap, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		return nil, fmt.Errorf("make a socket map: %w", err)
	}
	defer socket.Close() //nolint:errcheck // the program holds it
	if err := socket.Put(uint32(0), uint64(listener.Fd())); err != nil {
		return nil, fmt.Errorf("put the listener into its map: %w", err)
	}
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "mcp_answer_all", Type: ebpf.SkLookup, AttachType: ebpf.AttachSkLookup, License: "Apache-2.0",
		Instructions: lookupProgram(socket.FD()),
	})
	if err != nil {
		return nil, fmt.Errorf("load the socket lookup: %w", err)
	}
	defer program.Close() //nolint:errcheck // the link holds it
	namespace, err := os.Open(filepath.Join("/proc", strconv.Itoa(pid), "ns/net"))
	if err != nil {
		return nil, err
	}
	defer namespace.Close()
	attached, err := link.AttachNetNs(int(namespace.Fd()), program)
	if errors.Is(err, ebpf.ErrNotSupported) {
		err = errors.New("this kernel has no socket lookup: Linux 5.9 or newer is needed")
	}
	if err != nil {
		return nil, fmt.Errorf("attach the socket lookup: %w", err)
	}
	return attached, nil
}

func lookupProgram(socket int) asm.Instructions {
	const pass = 1
	return asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadMem(asm.R2, asm.R6, lookupProtocol, asm.Word),
		asm.JNE.Imm(asm.R2, unix.IPPROTO_TCP, "pass"),
		asm.LoadMem(asm.R2, asm.R6, lookupFamily, asm.Word),
		asm.JEq.Imm(asm.R2, unix.AF_INET6, "six"),
		asm.LoadMem(asm.R2, asm.R6, lookupLocalIP4, asm.Word),
		asm.HostTo(asm.BE, asm.R2, asm.Word),
		asm.RSh.Imm(asm.R2, 24),
		asm.JEq.Imm(asm.R2, 127, "pass"),
		asm.Ja.Label("answer"),
		asm.LoadMem(asm.R2, asm.R6, lookupLocalIP6, asm.Word).WithSymbol("six"),
		asm.LoadMem(asm.R3, asm.R6, lookupLocalIP6+4, asm.Word),
		asm.Or.Reg(asm.R2, asm.R3),
		asm.LoadMem(asm.R3, asm.R6, lookupLocalIP6+8, asm.Word),
		asm.Or.Reg(asm.R2, asm.R3),
		asm.JNE.Imm(asm.R2, 0, "answer"),
		asm.LoadMem(asm.R2, asm.R6, lookupLocalIP6+12, asm.Word),
		asm.HostTo(asm.BE, asm.R2, asm.Word),
		asm.JEq.Imm(asm.R2, 1, "pass"),

		asm.StoreImm(asm.R10, -4, 0, asm.Word).WithSymbol("answer"),
		asm.Mov.Reg(asm.R2, asm.R10),
		asm.Add.Imm(asm.R2, -4),
		asm.LoadMapPtr(asm.R1, socket),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "pass"),
		asm.Mov.Reg(asm.R7, asm.R0),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Mov.Reg(asm.R2, asm.R7),
		asm.Mov.Imm(asm.R3, 0),
		asm.FnSkAssign.Call(),
		asm.Mov.Reg(asm.R1, asm.R7),
		asm.FnSkRelease.Call(),

		asm.Mov.Imm(asm.R0, pass).WithSymbol("pass"),
		asm.Return(),
	}
}
