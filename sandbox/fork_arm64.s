#include "go_asm.h"
#include "textflag.h"

#define SYS_write 64
#define SYS_exit_group 94
#define SYS_clone3 435

// func cloneRun(args *[cloneWords]uint64, next, end *action, report *[reportSize]byte) (result uintptr)
TEXT ·cloneRun(SB), NOSPLIT, $0-40
	MOVD args+0(FP), R0
	MOVD $(const_cloneWords*8), R1
	MOVD next+8(FP), R19
	MOVD end+16(FP), R20
	MOVD report+24(FP), R21
	MOVD $SYS_clone3, R8
	SVC
	CBZ R0, child
	MOVD R0, result+32(FP)
	RET

child:
	MOVD $0, R22 // the number of the call
call:
	CMP R20, R19
	BEQ exit
	MOVD action_number(R19), R8
	MOVD (action_args+0)(R19), R0
	MOVD (action_args+8)(R19), R1
	MOVD (action_args+16)(R19), R2
	MOVD (action_args+24)(R19), R3
	MOVD (action_args+32)(R19), R4
	MOVD (action_args+40)(R19), R5
	SVC
	CMN $4095, R0
	BCS failed
	MOVBU action_exact(R19), R9
	CBZ R9, done
	MOVD action_want(R19), R9
	CMP R9, R0
	BEQ done
	MOVD $0, R0 // no error of the kernel's
	B tell
failed:
	NEG R0, R0
	MOVD action_optional(R19), R9
	CMP R9, R0
	BNE tell
done:
	ADD $action__size, R19
	ADD $1, R22
	B call

tell:
	MOVD $const_failed, R9
	MOVB R9, 0(R21)
	MOVB R22, 1(R21)
	MOVH R0, 2(R21)
	MOVD $0, R0
	MOVD R21, R1
	MOVD $const_reportSize, R2
	MOVD $SYS_write, R8
	SVC
exit:
	MOVD $1, R0
	MOVD $SYS_exit_group, R8
	SVC
	B exit

// func threadPointer() uintptr
TEXT ·threadPointer(SB), NOSPLIT, $0-8
	MRS TPIDR_EL0, R0
	MOVD R0, ret+0(FP)
	RET
