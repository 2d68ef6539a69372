export KUBECONFIG=/etc/rancher/k3s/k3s.yaml
export PATH=/usr/sbin:/usr/bin:/usr/lib/k3s/bin
