package sandbox

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Answers of the filter (seccomp(2)).
const (
	allow   = unix.SECCOMP_RET_ALLOW
	refuse  = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	unknown = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
)

// Offsets in struct seccomp_data (seccomp(2)). Its arguments are 64 bits wide, and
// the architectures that the gateway runs on store the low half first.
const (
	numberOffset   = 0
	archOffset     = 4
	argumentOffset = 16
)

// x32Bit marks the calls of x86-64's 32-bit pointer ABI, which would pass by
// filters that know numbers alone.
const x32Bit = 0x40000000

// condition is a test of one half of an argument.
type condition struct {
	offset uint32
	test   bpf.JumpTest
	value  uint32
}

func low(argument uint32, test bpf.JumpTest, value uint32) condition {
	return condition{argumentOffset + 8*argument, test, value}
}

func high(argument uint32, test bpf.JumpTest, value uint32) condition {
	return condition{argumentOffset + 8*argument + 4, test, value}
}

// lowAnyBit holds if a bit of mask is set in an argument that is 32 bits wide: the
// kernel does not look at the rest either.
func lowAnyBit(argument, mask uint32) condition { return low(argument, bpf.JumpBitsSet, mask) }

func equal(argument uint32, value uint64) []condition {
	return []condition{high(argument, bpf.JumpEqual, uint32(value>>32)), low(argument, bpf.JumpEqual, uint32(value))}
}

// rule gives an answer if all conditions hold.
type rule struct {
	conditions []condition
	answer     uint32
}

// verdict is what becomes of one call: the answer of the first rule that holds.
type verdict struct {
	rules     []rule
	otherwise uint32
}

// allowing adds that the call is allowed under conditions, or always if there are
// none.
func (v verdict) allowing(conditions []condition) verdict {
	if len(conditions) == 0 {
		v.otherwise = allow
		return v
	}
	v.rules = append(slices.Clone(v.rules), rule{conditions, allow})
	return v
}

// refusing gives another answer wherever v refuses.
func (v verdict) refusing(answer uint32) verdict {
	v.rules = slices.Clone(v.rules)
	for i := range v.rules {
		if v.rules[i].answer == refuse {
			v.rules[i].answer = answer
		}
	}
	if v.otherwise == refuse {
		v.otherwise = answer
	}
	return v
}

// assemble builds the program: architecture, then a search for the call's number. The kernel
// tries each call when a filter is loaded, to remember which are always allowed, so that a
// program that asks for one after the other would take the longest part of that.
func assemble(auditArch uint32, verdicts map[int]verdict) ([]byte, error) {
	program := []bpf.Instruction{
		bpf.LoadAbsolute{Off: archOffset, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: auditArch, SkipTrue: 1},
		bpf.RetConstant{Val: unknown},
		bpf.LoadAbsolute{Off: numberOffset, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: x32Bit, SkipFalse: 1},
		bpf.RetConstant{Val: unknown},
	}
	raw, err := bpf.Assemble(append(program, search(stretches(verdicts))...))
	if err != nil {
		return nil, err
	}
	if len(raw) > 4096 {
		return nil, fmt.Errorf("the filter has %d instructions, the kernel takes 4096", len(raw))
	}
	return encode(raw), nil
}

// stretch is neighbouring calls with the same verdict.
type stretch struct {
	last int // its highest number
	verdict
}

// stretches are those of all numbers there are, in ascending order.
func stretches(verdicts map[int]verdict) (list []stretch) {
	add := func(last int, v verdict) {
		if n := len(list) - 1; n >= 0 && plain(v) && plain(list[n].verdict) && v.otherwise == list[n].otherwise {
			list[n].last = last
			return
		}
		list = append(list, stretch{last, v})
	}
	next := 0
	for _, number := range slices.Sorted(maps.Keys(verdicts)) {
		if number > next { // numbers that no call has
			add(number-1, verdict{otherwise: unknown})
		}
		add(number, verdicts[number])
		next = number + 1
	}
	add(math.MaxInt, verdict{otherwise: unknown})
	return list
}

func plain(v verdict) bool { return len(v.rules) == 0 }

// search finds the stretch that the loaded number is in, by halves, and gives its answer.
func search(list []stretch) []bpf.Instruction {
	if len(list) == 1 {
		return list[0].answers()
	}
	half := len(list) / 2
	lower := search(list[:half])
	higher := bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: uint32(list[half-1].last), SkipTrue: uint8(len(lower))}
	decision := []bpf.Instruction{higher}
	if len(lower) > math.MaxUint8 { // too far for its offset
		higher.SkipTrue, higher.SkipFalse = 0, 1
		decision = []bpf.Instruction{higher, bpf.Jump{Skip: uint32(len(lower))}}
	}
	return slices.Concat(decision, lower, search(list[half:]))
}

// answers are those of the first rule that holds.
func (v verdict) answers() (body []bpf.Instruction) {
	for _, r := range v.rules {
		for i, c := range r.conditions {
			rest := 2*(len(r.conditions)-1-i) + 1
			body = append(body,
				bpf.LoadAbsolute{Off: c.offset, Size: 4},
				bpf.JumpIf{Cond: c.test, Val: c.value, SkipFalse: uint8(rest)})
		}
		body = append(body, bpf.RetConstant{Val: r.answer})
	}
	return append(body, bpf.RetConstant{Val: v.otherwise})
}

// encode lays instructions out as struct sock_filter, in the machine's order.
func encode(raw []bpf.RawInstruction) []byte {
	program := make([]byte, 0, 8*len(raw))
	for _, i := range raw {
		program = binary.NativeEndian.AppendUint16(program, i.Op)
		program = append(program, i.Jt, i.Jf)
		program = binary.NativeEndian.AppendUint32(program, i.K)
	}
	return program
}
