# CA_ARN comes with the injection; AWS_REGION and credentials from EKS Pod Identity. Without either there is no proxy.
set -eu
aws acm-pca get-certificate-authority-certificate --region "$AWS_REGION" --certificate-authority-arn "$CA_ARN" \
  --query Certificate --output text >/etc/pki/ca-trust/source/anchors/mesh.pem
update-ca-trust extract
sed "s/AWS_REGION/$AWS_REGION/" /etc/envoy/envoy.yaml.in >/etc/envoy/envoy.yaml
exec envoy --config-path /etc/envoy/envoy.yaml "$@"
