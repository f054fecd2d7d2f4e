// Starts a process and never calls Wait.
package main

import (
	"os/exec"
	"time"
)

func main() {
	if err := exec.Command("sleep", "0.2").Start(); err != nil {
		panic(err)
	}
	time.Sleep(1000 * time.Second)
}
