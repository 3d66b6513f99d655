package sandbox

import (
	"encoding/binary"
	"testing"

	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// call is a system call as the filter sees it (struct seccomp_data).
type call struct {
	number uint32
	arch   uint32
	args   [6]uint64
}

// instructions are those of the filter.
func instructions(t *testing.T) []bpf.RawInstruction {
	t.Helper()
	program, err := compileFilter(Syscalls{})
	if err != nil {
		t.Fatal(err)
	}
	raw := make([]bpf.RawInstruction, len(program)/8)
	for i := range raw {
		b := program[8*i:]
		raw[i] = bpf.RawInstruction{Op: binary.NativeEndian.Uint16(b), Jt: b[2], Jf: b[3], K: binary.NativeEndian.Uint32(b[4:])}
	}
	return raw
}

// machine runs the filter as the kernel would. The library's machine loads in
// network order, so each half is laid down that way.
func machine(t *testing.T) func(call) uint32 {
	t.Helper()
	program, decoded := bpf.Disassemble(instructions(t))
	if !decoded {
		t.Fatal("the filter has an instruction that can't be read")
	}
	vm, err := bpf.NewVM(program)
	if err != nil {
		t.Fatal(err)
	}
	return func(c call) uint32 {
		data := binary.BigEndian.AppendUint32(nil, c.number)
		data = binary.BigEndian.AppendUint32(data, c.arch)
		data = append(data, make([]byte, 8)...) // instruction pointer
		for _, a := range c.args {
			data = binary.BigEndian.AppendUint32(data, uint32(a))
			data = binary.BigEndian.AppendUint32(data, uint32(a>>32))
		}
		answer, err := vm.Run(data)
		if err != nil {
			t.Fatal(err)
		}
		return uint32(answer)
	}
}

// TestFilterAnswersEveryNumber compares the program with the verdicts that it was
// made from: a jump that is one off would change an answer.
func TestFilterAnswersEveryNumber(t *testing.T) {
	t.Parallel()
	table, err := arch.GetInfo("")
	if err != nil {
		t.Fatal(err)
	}
	verdicts, err := profile(table)
	if err != nil {
		t.Fatal(err)
	}
	run := machine(t)
	for number := range 1100 {
		v, known := verdicts[number]
		for _, value := range []uint64{0, 1, 2, 10, 16, 0o4755, 0o100, 0o2000, unix.TIOCSTI, unix.TIOCSTI | 1<<32, 1<<64 - 1} {
			c := call{number: uint32(number), arch: uint32(table.ID), args: [6]uint64{value, value, value, value, value, value}}
			want := uint32(unknown)
			if known {
				want = v.answer(c)
			}
			if got := run(c); got != want {
				t.Errorf("call %d (%s) with %#x: got %#x, want %#x", number, table.SyscallNumbers[number], value, got, want)
			}
		}
	}
}

// TestFilterFindsCallsFast: a filter takes the kernel as long to load as all calls take together.
func TestFilterFindsCallsFast(t *testing.T) {
	t.Parallel()
	const most = 20 // the architecture, and a search by halves
	program := instructions(t)
	for number := range uint32(1100) {
		steps := 0
		for at := 0; ; at++ {
			i := program[at]
			if steps++; i.Op == unix.BPF_RET || i.Op == unix.BPF_LD|unix.BPF_ABS && i.K >= argumentOffset {
				break
			}
			switch i.Op {
			case unix.BPF_JMP | unix.BPF_JA:
				at += int(i.K)
			case unix.BPF_JMP | unix.BPF_JEQ, unix.BPF_JMP | unix.BPF_JGT, unix.BPF_JMP | unix.BPF_JGE:
				if i.Op&0xf0 == unix.BPF_JEQ || i.Op&0xf0 == unix.BPF_JGT && number > i.K { // of this architecture, and no number of x32
					at += int(i.Jt)
				} else {
					at += int(i.Jf)
				}
			}
		}
		if steps > most {
			t.Errorf("call %d is found after %d instructions, want %d at most", number, steps, most)
		}
	}
}

// answer is what a verdict means, worked out without the program.
func (v verdict) answer(c call) uint32 {
	half := func(offset uint32) uint32 {
		argument := c.args[(offset-argumentOffset)/8]
		if (offset-argumentOffset)%8 == 4 {
			return uint32(argument >> 32)
		}
		return uint32(argument)
	}
	for _, r := range v.rules {
		holds := true
		for _, condition := range r.conditions {
			got, want := half(condition.offset), condition.value
			switch condition.test {
			case bpf.JumpEqual:
				holds = holds && got == want
			case bpf.JumpNotEqual:
				holds = holds && got != want
			case bpf.JumpGreaterOrEqual:
				holds = holds && got >= want
			case bpf.JumpBitsSet:
				holds = holds && got&want != 0
			case bpf.JumpBitsNotSet:
				holds = holds && got&want == 0
			default:
				panic("a test that the model does not know")
			}
		}
		if holds {
			return r.answer
		}
	}
	return v.otherwise
}

func TestFilterRefusesOtherInterfaces(t *testing.T) {
	t.Parallel()
	table, err := arch.GetInfo("")
	if err != nil {
		t.Fatal(err)
	}
	run := machine(t)
	getpid := uint32(unix.SYS_GETPID)
	tests := []struct {
		name string
		call call
		want uint32
	}{
		{"own", call{number: getpid, arch: uint32(table.ID)}, allow},
		{"i386", call{number: getpid, arch: unix.AUDIT_ARCH_I386}, unknown},
		{"other machine", call{number: getpid, arch: unix.AUDIT_ARCH_S390X}, unknown},
		{"x32", call{number: getpid | x32Bit, arch: uint32(table.ID)}, unknown},
		{"negative", call{number: 1<<32 - 1, arch: uint32(table.ID)}, unknown},
		{"mount", call{number: unix.SYS_MOUNT, arch: uint32(table.ID)}, refuse},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := run(tt.call); got != tt.want {
				t.Errorf("got %#x, want %#x", got, tt.want)
			}
		})
	}
}
