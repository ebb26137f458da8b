// Command pause does nothing until it is killed. It is the process that holds a pod's network.
package main

import "time"

func main() {
	for {
		time.Sleep(time.Hour)
	}
}
