#include "go_asm.h"
#include "textflag.h"

#define SYS_write 1
#define SYS_exit_group 231
#define SYS_clone3 435

// func cloneRun(args *[cloneWords]uint64, next, end *action, report *[reportSize]byte) (result uintptr)
TEXT ·cloneRun(SB), NOSPLIT, $0-40
	MOVQ args+0(FP), DI
	MOVQ $(const_cloneWords*8), SI
	MOVQ next+8(FP), BX
	MOVQ end+16(FP), R12
	MOVQ report+24(FP), R13
	MOVQ $SYS_clone3, AX
	SYSCALL
	TESTQ AX, AX
	JEQ child
	MOVQ AX, result+32(FP)
	RET

child:
	XORQ R14, R14 // the number of the call
call:
	CMPQ BX, R12
	JEQ exit
	MOVQ action_number(BX), AX
	MOVQ (action_args+0)(BX), DI
	MOVQ (action_args+8)(BX), SI
	MOVQ (action_args+16)(BX), DX
	MOVQ (action_args+24)(BX), R10
	MOVQ (action_args+32)(BX), R8
	MOVQ (action_args+40)(BX), R9
	SYSCALL
	CMPQ AX, $-4095
	JCC failed
	MOVBLZX action_exact(BX), CX
	TESTL CX, CX
	JEQ done
	CMPQ AX, action_want(BX)
	JEQ done
	XORQ AX, AX // no error of the kernel's
	JMP tell
failed:
	NEGQ AX
	CMPQ AX, action_optional(BX)
	JNE tell
done:
	ADDQ $action__size, BX
	INCQ R14
	JMP call

tell:
	MOVB $const_failed, 0(R13)
	MOVB R14, 1(R13)
	MOVW AX, 2(R13)
	MOVQ $SYS_write, AX
	XORQ DI, DI
	MOVQ R13, SI
	MOVQ $const_reportSize, DX
	SYSCALL
exit:
	MOVQ $SYS_exit_group, AX
	MOVQ $1, DI
	SYSCALL
	JMP exit

// func threadPointer() uintptr
TEXT ·threadPointer(SB), NOSPLIT, $8-8
	MOVQ $0x1003, DI // ARCH_GET_FS
	LEAQ at-8(SP), SI
	MOVQ $158, AX // arch_prctl(2)
	SYSCALL
	MOVQ at-8(SP), AX
	MOVQ AX, ret+0(FP)
	RET
