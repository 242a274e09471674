package lab

import (
	"context"
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// tokenSeconds outlives every run of a lab.
const tokenSeconds = 7 * 24 * 3600

// Token issues a token of a service account in our namespace. With a node it is
// bound to that Node object: its user has the node's name as a claim, as in a
// token that a kubelet mounts.
func (c *Cluster) Token(ctx context.Context, account, node string) (string, error) {
	seconds := int64(tokenSeconds)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}
	if node != "" {
		object, err := c.Kube.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
		if err != nil {
			return "", fmt.Errorf("issuing a token for %s on %s: %w", account, node, err)
		}
		request.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{
			Kind: "Node", APIVersion: "v1", Name: node, UID: object.UID,
		}
	}
	issued, err := c.Kube.CoreV1().ServiceAccounts(Namespace).CreateToken(ctx, account, request, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("issuing a token for %s: %w", account, err)
	}
	return issued.Status.Token, nil
}

// ConfigAs is a client configuration for this process with the rights of a
// service account of ours; with a node its token is bound to that Node.
func (c *Cluster) ConfigAs(ctx context.Context, account, node string) (*rest.Config, error) {
	token, err := c.Token(ctx, account, node)
	if err != nil {
		return nil, err
	}
	config := rest.AnonymousClientConfig(c.Config)
	config.BearerToken = token
	config.QPS = -1
	return config, nil
}
