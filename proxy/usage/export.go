package usage

import "context"

func (m *Meter) exports(ctx context.Context) { <-ctx.Done() }
