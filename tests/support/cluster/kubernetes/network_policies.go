package main

import (
	"context"

	"github.com/spf13/cobra"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/kube-network-policies/pkg/networkpolicy"
)

// networkPolicies enforces the NetworkPolicies of the cluster in the network namespace that it runs in.
func networkPolicies() *cobra.Command {
	var kubeconfig, node string
	command := &cobra.Command{Use: "network-policies", SilenceUsage: true}
	command.Flags().StringVar(&kubeconfig, "kubeconfig", "", "how to reach the API server")
	command.Flags().StringVar(&node, "node", "", "name of the node that this runs on")
	command.RunE = func(*cobra.Command, []string) error {
		config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
		if err != nil {
			return err
		}
		client, err := kubernetes.NewForConfig(config)
		if err != nil {
			return err
		}
		objects := informers.NewSharedInformerFactory(client, 0)
		controller, err := networkpolicy.NewController(
			client,
			objects.Networking().V1().NetworkPolicies(),
			objects.Core().V1().Namespaces(),
			objects.Core().V1().Pods(),
			nil, nil, nil, nil, // policies of administrators, which nobody makes here
			networkpolicy.Config{NodeName: node, QueueID: 98, NRIdisabled: true},
		)
		if err != nil {
			return err
		}
		forever := context.Background()
		objects.Start(forever.Done())
		return controller.Run(forever)
	}
	return command
}
