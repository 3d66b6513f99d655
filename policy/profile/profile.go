// Package profile reads sandbox profiles: what a server may see, call, reach and
// use up. A profile is a TOML file that extends another; its effective view has
// every value and says which file it came from. It enforces nothing.
//
// Runs in: daemon, CLI.
package profile

import "time"

// Profile is one effective profile: complete, checked and never changed
// afterwards. Its fields are the schema of the file: the tag config is the key,
// want the range or the texts that it may have, and weaker says which change of
// the value lets a server do more:
//
//	larger   a larger value; zero is no limit, and larger than all
//	above    a larger value; zero is none at all
//	more     an element that no element of the other holds
//	fewer    an element of the other that none holds
//	wider    as more; an empty list holds everything
//	set      any other value
//	ORDER    texts from strict to weak, separated by "<"
//
// System calls have no such tag: what they come to is compared.
type Profile struct {
	Filesystem   Filesystem   `config:"filesystem"`
	Network      Network      `config:"network"`
	Syscalls     Syscalls     `config:"syscalls"`
	Capabilities Capabilities `config:"capabilities"`
	Namespaces   Namespaces   `config:"namespaces"`
	Limits       Limits       `config:"limits"`
	Rlimits      Rlimits      `config:"rlimits"`
	Environment  Environment  `config:"environment"`
	Time         Time         `config:"time"`
	Landlock     Landlock     `config:"landlock"`
	LSM          LSM          `config:"lsm"`
}

// Filesystem is what a server sees. Everything of the host that is not named is
// absent.
type Filesystem struct {
	Image       string   `config:"image" want:"host" weaker:"set"`
	Mounts      []Mount  `config:"mounts" weaker:"more"`                                // of the host, beside the image
	Directories string   `config:"directories" want:"none|ro|rw" weaker:"none<ro<rw"`   // the most that a project's directories give
	Tmpfs       []Tmpfs  `config:"tmpfs" weaker:"more"`                                 // empty folders beside /tmp and /dev/shm
	TmpSize     Size     `config:"tmp_size" want:"4096..1099511627776" weaker:"larger"` // of /tmp
	ShmSize     Size     `config:"shm_size" want:"4096..1099511627776" weaker:"larger"` // of /dev/shm
	Hidden      []string `config:"hidden" weaker:"fewer"`                               // files and folders of the image that show as empty
}

// Mount shows a file or folder of the host. What can be written can't be executed,
// whatever NoExec says.
type Mount struct {
	Source string `config:"source"`
	Target string `config:"target"` // default: the same path
	Access string `config:"access" want:"ro|rw"`
	NoExec bool   `config:"noexec"`
}

// Tmpfs is an empty folder in memory.
type Tmpfs struct {
	Target string `config:"target" want:"/"`
	Size   Size   `config:"size" want:"4096..1099511627776"`
}

// Network is whom a server may speak to.
type Network struct {
	Mode                 string   `config:"mode" want:"none|allow|host" weaker:"none<allow<host"`
	Allow                []string `config:"allow" weaker:"more"`                            // "name:port", "*.name:port", "address:port"
	Private              []string `config:"private" weaker:"more"`                          // CIDR: other than public addresses that allowed names may have
	MaxConnections       int      `config:"max_connections" want:"1..4096" weaker:"larger"` // at a time
	ConnectionsPerSecond float64  `config:"connections_per_second" want:"0.1..10000" weaker:"larger"`
}

// Syscalls is which system calls a server may make: those of Base, less Minus,
// and Plus.
type Syscalls struct {
	Base      string   `config:"base"` // a named set
	Plus      []string `config:"plus"`
	Minus     []string `config:"minus"` // single calls, or groups such as "@aio"
	Action    string   `config:"action" want:"kill|errno" weaker:"kill<errno"`
	AuditOnly bool     `config:"audit_only" weaker:"false<true"` // refuse nothing, let the kernel log it
}

// Capabilities are always none: the key is there to say so.
type Capabilities struct {
	Keep []string `config:"keep" weaker:"more"`
}

// Namespaces are those that a server has to itself.
type Namespaces struct {
	Private []string `config:"private" weaker:"fewer"`
	IDs     int      `config:"ids" want:"4096..65536" weaker:"set"` // user and group ids that exist inside
}

// Limits are cgroup limits; zero is no limit.
type Limits struct {
	MemoryMax  Size    `config:"memory_max" want:"0|1048576..17592186044416" weaker:"larger"`
	MemoryHigh Size    `config:"memory_high" want:"0|1048576..17592186044416" weaker:"larger"` // above it the server is slowed down
	SwapMax    Size    `config:"swap_max" want:"0..17592186044416" weaker:"above"`
	CPUMax     float64 `config:"cpu_max" want:"0|0.01..4096" weaker:"larger"` // cores
	CPUWeight  int     `config:"cpu_weight" want:"1..10000"`                  // share where CPU is short; 100 is usual
	PIDsMax    int     `config:"pids_max" want:"0|2..4194304" weaker:"larger"`
	IOMax      []IOMax `config:"io_max" weaker:"fewer"`
}

// IOMax bounds what a server reads from and writes to a block device, in bytes and
// requests per second; zero is no limit.
type IOMax struct {
	Device    string `config:"device" want:"/"`
	ReadBPS   Size   `config:"read_bps" want:"0..17592186044416"`
	WriteBPS  Size   `config:"write_bps" want:"0..17592186044416"`
	ReadIOPS  int    `config:"read_iops" want:"0..1000000000"`
	WriteIOPS int    `config:"write_iops" want:"0..1000000000"`
}

// Rlimits are limits of each process (getrlimit(2)).
type Rlimits struct {
	Core     Size `config:"core" want:"0..17592186044416" weaker:"above"`
	NoFile   int  `config:"nofile" want:"16..1048576" weaker:"larger"` // hard; the soft limit is at most 1024
	MemLock  Size `config:"memlock" want:"0..17592186044416" weaker:"above"`
	MsgQueue Size `config:"msgqueue" want:"0..17592186044416" weaker:"above"`
	FSize    Size `config:"fsize" want:"0|4096..17592186044416" weaker:"larger"` // of one file; zero is no limit
	Stack    Size `config:"stack" want:"65536..1099511627776" weaker:"larger"`
}

// Environment is what a server's environment has beside what its configuration
// gives it.
type Environment struct {
	Pass []string `config:"pass" weaker:"more"` // names of the daemon's variables
}

// Time is how long a server may run.
type Time struct {
	Run time.Duration `config:"run" want:"0|1s..8760h" weaker:"larger"` // zero: no limit
	CPU time.Duration `config:"cpu" want:"0|1s..8760h" weaker:"larger"` // of each process; zero: no limit
}

// Landlock narrows files, signals and abstract sockets once more, from inside
// (landlock(7)).
type Landlock struct {
	Mode string   `config:"mode" want:"required|available|off" weaker:"required<available<off"`
	Read []string `config:"read" weaker:"wider"` // all that can be read and executed; empty: everything that is visible
}

// LSM names labels that the host's security module knows; empty is none.
type LSM struct {
	AppArmor string `config:"apparmor" weaker:"set"`
	SELinux  string `config:"selinux" weaker:"set"`
}
