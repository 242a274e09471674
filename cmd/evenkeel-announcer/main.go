// Command evenkeel-announcer runs on every node: it binds and announces the VIPs whose placeholder pods were placed there.
package main

import (
	"os"

	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register" // --logging-format=json
)

func main() {
	os.Exit(cli.Run(newCommand()))
}
