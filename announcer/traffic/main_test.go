package traffic

import (
	"testing"

	"evenkeel.io/evenkeel/announcer/address/nstest"
)

func TestMain(m *testing.M) { nstest.Main(m) }
