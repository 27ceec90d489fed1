# One building on this machine, as an operator would set it up: certificates,
# the development cloud (managementd) with the demo's building, the gateway.

pki=/srv/pki
hub=demo-hub.azure-devices.net
tenant=7a1d0f8e-5b0c-4c55-9f0e-0d6a5c0e1001
api=https://localhost:8443
house=/5bace000-0000-4000-8000-000000000001/5bace000-0000-4000-8000-000000000010

key() { openssl ecparam -genkey -name prime256v1 -noout -out "$1" 2>/dev/null; }

# server_certificate KEY CERT
server_certificate() {
	openssl req -new -key "$1" -subj /CN=gatehouse -out $pki/csr.pem
	printf 'subjectAltName=DNS:localhost,DNS:%s,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n' $hub >$pki/san
	openssl x509 -req -in $pki/csr.pem -CA $pki/ca.pem -CAkey $pki/ca.key -set_serial "0x$(openssl rand -hex 8)" -days 30 -extfile $pki/san -out "$2" 2>/dev/null
}

thumbprint() { openssl x509 -in "$1" -noout -fingerprint -sha256 | sed 's/.*=//; s/://g' | tr A-F a-f; }

certificates() {
	mkdir -p $pki
	key $pki/ca.key
	openssl req -x509 -new -key $pki/ca.key -subj '/CN=Appliance CA' -days 30 -out $pki/ca.pem \
		-addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign
	cp $pki/ca.pem /etc/gatehouse/tls/ca.crt
	key /etc/gatehouse/credentials/server.key
	server_certificate /etc/gatehouse/credentials/server.key /etc/gatehouse/tls/server.crt
	key /etc/gatehouse/management-credentials/management.key
	server_certificate /etc/gatehouse/management-credentials/management.key /etc/gatehouse/tls/management.crt
	local d
	for d in lobby-thermostat lobby-display gateway-1; do
		key $pki/$d.key
		openssl req -x509 -new -key $pki/$d.key -subj "/CN=$d" -days 30 -out $pki/$d.pem
	done
	cp $pki/gateway-1.pem /etc/gatehouse/tls/gateway-1.crt
	cp $pki/gateway-1.key /etc/gatehouse/credentials/gateway-1.key
	openssl rand -hex 24 >/etc/gatehouse/credentials/cloud-secret
	chmod 0600 /etc/gatehouse/credentials/* /etc/gatehouse/management-credentials/*
}

cloud_configuration() {
	{
		echo devices:
		# Every device of the seed that has a certificate; those that never come get any thumbprint.
		for d in $(awk '$1 == "deviceId:" {id = $2} $1 == "auth:" && $2 == "selfSigned" {print id}' /usr/share/gatehouse/demo-topology.yaml); do
			echo "  - {id: $d, thumbprints: [$(if [ -f $pki/$d.pem ]; then thumbprint $pki/$d.pem; else openssl rand -hex 32; fi)]}"
		done
	} >/etc/gatehouse/management-credentials/devices.yaml
	chmod 0600 /etc/gatehouse/management-credentials/devices.yaml
	cat >/etc/gatehouse/managementd.yaml <<YAML
listen: 127.0.0.1:8443
tls:
  cert: /etc/gatehouse/tls/management.crt
  key: \${CREDENTIALS_DIRECTORY}/secret_management.key
state: /var/lib/gatehouse-management
tenant: $tenant
hubHost: $hub
seed: /usr/share/gatehouse/demo-topology.yaml
credentials: \${CREDENTIALS_DIRECTORY}/secret_devices.yaml
issuer:
  url: $api/$tenant/v2.0
  key: /var/lib/gatehouse-management/issuer.key
  management: https://management.demo.example
  audiences:
    - {resource: "https://management.demo.example", audience: "https://management.demo.example"}
  accounts:
    - {id: gatehoused, secret: $(cat /etc/gatehouse/credentials/cloud-secret), objectId: 5e4c1ce0-0000-4000-8000-000000000001}
hub:
  listen: 127.0.0.1:8884
YAML
}

gateway_configuration() {
	cat >/etc/gatehouse/gatehoused.yaml <<YAML
# Written by the operator of this machine.
instance:
  tenant: $tenant
  site: $house
  hub:
    host: $hub
listeners:
  - name: mqtts
    address: 0.0.0.0:8883
    tls:
      cert: /etc/gatehouse/tls/server.crt
      key: \${CREDENTIALS_DIRECTORY}/secret_server.key
cloud:
  management:
    url: $api/management/api/v1.0
    ca: /etc/gatehouse/tls/ca.crt
    credential:
      kind: client-secret
      tokenUrl: $api/$tenant/oauth2/v2.0/token
      clientId: gatehoused
      clientSecret: \${CREDENTIALS_DIRECTORY}/secret_cloud-secret
      scope: https://management.demo.example/.default
upstream:
  mode: iothub
  iothub:
    address: 127.0.0.1:8884
    ca: /etc/gatehouse/tls/ca.crt
    gatewayDevice: {id: gateway-1, cert: /etc/gatehouse/tls/gateway-1.crt, key: "\${CREDENTIALS_DIRECTORY}/secret_gateway-1.key"}
  routes:
    - {name: telemetry, filter: "devices/+/messages/events/#"}
state: {dir: /var/lib/gatehouse}
admin: {socket: /run/gatehouse/admin.sock}
YAML
}

# device ID ARGS...: mosquitto_pub as that device, MQTT 3.1.1, with its certificate
device() {
	local id=$1
	shift
	timeout 20 mosquitto_pub -h localhost -p 8883 --cafile $pki/ca.pem --cert $pki/$id.pem --key $pki/$id.key \
		-V mqttv311 -i "$id" -u "$hub/$id/?api-version=2021-04-12" -q 1 "$@"
}

telemetry() { # TEXT: one measurement of the thermostat, acknowledged
	device lobby-thermostat -t "devices/lobby-thermostat/messages/events/DigitalTwins-Telemetry=1.0&DigitalTwins-SensorHardwareId=lobby-thermostat-temperature" -m "$1"
}

cloud() { curl -sS --fail --max-time 5 --cacert $pki/ca.pem "$api$1"; }

# arrived TEXT...: at the hub, each of them
arrived() {
	local all text
	all=$(cloud '/hub/telemetry?since=0&limit=1000' | jq -r '.messages[].payload | @base64d')
	for text; do grep -qxF "$text" <<<"$all" || { echo "the hub has no $text, only: $all"; return 1; }; done
}

# served: the serial of the certificate that the MQTT port shows
served() { openssl s_client -connect localhost:8883 -CAfile $pki/ca.pem -verify_return_error </dev/null 2>/dev/null | openssl x509 -noout -serial; }
served_is() { same "certificate served" "$(served)" "$(openssl x509 -in "$1" -noout -serial)"; }
