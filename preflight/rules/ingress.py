"""What an Ingress needs to become a load balancer: class, subnets, ports, certificates, controller."""
