package bridge

import (
	"os"
	"testing"

	"mcpgateway/proxy/proxytest"
)

func TestMain(m *testing.M) { os.Exit(proxytest.Main(m)) }
