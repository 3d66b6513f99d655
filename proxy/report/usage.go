package report

import "time"

// Usage is what was used, summed up.
type Usage struct {
	From  time.Time   `json:"from"`
	To    time.Time   `json:"to"`
	By    []string    `json:"by"`
	Lines []UsageLine `json:"lines"`
}

// UsageLine is what was used of one kind.
type UsageLine struct {
	By []string `json:"by"` // as that of Usage
	Used
}

// Used is what was used: how many, bytes, and microseconds of time.
type Used struct {
	Calls            int64 `json:"calls"`
	Errors           int64 `json:"errors"`
	Refused          int64 `json:"refused"`
	BytesIn          int64 `json:"bytes_in"`
	BytesOut         int64 `json:"bytes_out"`
	WallMicros       int64 `json:"wall_us"`
	CPUMicros        int64 `json:"cpu_us"`
	MemoryKiBSeconds int64 `json:"memory_kib_s"`
	EgressSent       int64 `json:"egress_sent"`
	EgressReceived   int64 `json:"egress_received"`
}

// Add adds what was used elsewhere.
func (u *Used) Add(o Used) {
	u.Calls += o.Calls
	u.Errors += o.Errors
	u.Refused += o.Refused
	u.BytesIn += o.BytesIn
	u.BytesOut += o.BytesOut
	u.WallMicros += o.WallMicros
	u.CPUMicros += o.CPUMicros
	u.MemoryKiBSeconds += o.MemoryKiBSeconds
	u.EgressSent += o.EgressSent
	u.EgressReceived += o.EgressReceived
}
