package fleet

import "mcpgateway/proxy/backend"

// Running lists the instances of all servers, those of single sessions among them, sorted
// by server and age.
func (f *Fleet) Running() []backend.Running { return f.pool.Running() }
