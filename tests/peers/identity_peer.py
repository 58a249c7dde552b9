#!/usr/bin/env python3
"""Those who issue identities, as a proxy meets them: grpcio, and the published messages.

    identity_peer.py sds SOCKET FOLDER           Envoy's secret discovery service, with Envoy's own messages, as SPIRE's agent has it
    identity_peer.py workload-api SOCKET FOLDER  the SPIFFE Workload API
    identity_peer.py authority PORT FOLDER       Istio's certificate service, over TLS

The first two serve FOLDER/chain.pem, key.pem, roots.pem and federated/DOMAIN.pem (SDS crl.pem too), and again each time that FOLDER/version is another.
The last signs with FOLDER/ca.pem and ca.key for who shows FOLDER/token, as FOLDER/id, for FOLDER/life seconds; it refuses while
there is FOLDER/down. What happens is told on standard output.
"""

import datetime
import os
import sys
import threading
import time
from concurrent import futures

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory


SAYING = threading.Lock()


def say(*words):
    """One line; `print` would mix those of two threads."""
    with SAYING:
        sys.stdout.write(" ".join(map(str, words)) + "\n")
        sys.stdout.flush()


class Folder:
    """Files that change, all at once when `version` does."""

    def __init__(self, path):
        self.path = path

    def read(self, name):
        with open(os.path.join(self.path, name), "rb") as file:
            return file.read()

    def version(self):
        return self.read("version").decode().strip()

    def has(self, name):
        return os.path.exists(os.path.join(self.path, name))

    def federated(self):
        folder = os.path.join(self.path, "federated")
        names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
        return {name.removesuffix(".pem"): self.read(f"federated/{name}") for name in names}

    def versions(self, alive):
        """The version, and each that follows, for as long as the caller is there."""
        last = None
        while alive():
            now = self.version()
            if now != last:
                last = now
                yield now
            time.sleep(0.02)


def der(pem):
    certificates = x509.load_pem_x509_certificates(pem)
    return b"".join(one.public_bytes(serialization.Encoding.DER) for one in certificates)


# ---- Envoy's secret discovery service -----------------------------------------------------------------------------------


def sds(folder):
    from envoy.extensions.transport_sockets.tls.v3 import secret_pb2, tls_spiffe_validator_config_pb2
    from envoy.service.discovery.v3 import discovery_pb2
    from envoy.service.secret.v3 import sds_pb2_grpc

    def secret(name, request):
        made = secret_pb2.Secret(name=name)
        if name == "ROOTCA":
            made.validation_context.trusted_ca.inline_bytes = folder.read("roots.pem")
            if folder.has("crl.pem"):
                made.validation_context.crl.inline_bytes = folder.read("crl.pem")
        elif name == "ALL":
            # As SPIRE's agent does, by the last request.
            version = request.node.user_agent_build_version.version
            if (version.major_number, version.minor_number) < (1, 18):
                raise ValueError('unable to use "SPIFFE validator" on Envoy below 1.17')
            config = tls_spiffe_validator_config_pb2.SPIFFECertValidatorConfig()
            domains = {"cluster.local": folder.read("roots.pem"), **folder.federated()}
            for domain, pem in domains.items():
                config.trust_domains.add(name=domain).trust_bundle.inline_bytes = pem
            made.validation_context.custom_validator_config.name = "envoy.tls.cert_validator.spiffe"
            made.validation_context.custom_validator_config.typed_config.Pack(config)
        else:
            made.tls_certificate.certificate_chain.inline_bytes = folder.read("chain.pem")
            made.tls_certificate.private_key.inline_bytes = folder.read("key.pem")
        return made

    class Service(sds_pb2_grpc.SecretDiscoveryServiceServicer):
        def StreamSecrets(self, requests, context):
            first = next(requests)
            names = list(first.resource_names)
            say("subscribed", *names, "as", first.node.id)
            last = [first]
            threading.Thread(target=self.answers, args=(requests, names, last), daemon=True).start()
            for version in folder.versions(context.is_active):
                response = discovery_pb2.DiscoveryResponse(
                    version_info=version, nonce=f"nonce-{version}", type_url=first.type_url
                )
                for name in names:
                    response.resources.add().Pack(secret(name, last[0]))
                yield response

        @staticmethod
        def answers(requests, names, last):
            try:
                for request in requests:
                    last[0] = request
                    word = "refused" if request.HasField("error_detail") else "taken"
                    say(word, *names, request.version_info, request.response_nonce, request.error_detail.message)
            except grpc.RpcError:
                pass

    return lambda server: sds_pb2_grpc.add_SecretDiscoveryServiceServicer_to_server(Service(), server)


# ---- messages without published Python code -----------------------------------------------------------------------------


def messages(package, definitions):
    """Message classes from {name: {field: (number, type, repeated)}}; a type may be the name of another message."""
    types = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name=f"{package or 'workload'}.proto", package=package, syntax="proto3")
    prefix = f".{package}." if package else "."
    for name, fields in definitions.items():
        message = file.message_type.add(name=name)
        for field, (number, kind, repeated) in fields.items():
            added = message.field.add(name=field, number=number)
            added.label = types.LABEL_REPEATED if repeated else types.LABEL_OPTIONAL
            if kind in definitions:
                added.type, added.type_name = types.TYPE_MESSAGE, prefix + kind
            else:
                added.type = getattr(types, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    names = {name: (f"{package}." if package else "") + name for name in definitions}
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(full)) for name, full in names.items()}


# ---- the SPIFFE Workload API --------------------------------------------------------------------------------------------


def workload_api(folder):
    kinds = messages(
        "",
        {
            "X509SVIDRequest": {},
            "X509SVIDResponse": {
                "svids": (1, "X509SVID", True),
                "crl": (2, "bytes", True),
                "federated_bundles": (3, "Entry", True),
            },
            # As a map is on the wire.
            "Entry": {"key": (1, "string", False), "value": (2, "bytes", False)},
            "X509SVID": {
                "spiffe_id": (1, "string", False),
                "x509_svid": (2, "bytes", False),
                "x509_svid_key": (3, "bytes", False),
                "bundle": (4, "bytes", False),
                "hint": (5, "string", False),
            },
        },
    )

    def response():
        made = kinds["X509SVIDResponse"]()
        key = serialization.load_pem_private_key(folder.read("key.pem"), None)
        made.svids.add(
            x509_svid=der(folder.read("chain.pem")),
            x509_svid_key=key.private_bytes(
                serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
            bundle=der(folder.read("roots.pem")),
            hint="internal",
        )
        for domain, pem in folder.federated().items():
            made.federated_bundles.add(key=f"spiffe://{domain}", value=der(pem))
        return made

    def fetch(request, context):
        if dict(context.invocation_metadata()).get("workload.spiffe.io") != "true":
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "security header missing from request")
        say("fetching")
        for version in folder.versions(context.is_active):
            if folder.has("denied"):
                context.abort(grpc.StatusCode.PERMISSION_DENIED, "no identity issued")
            yield response()
            say("sent", version)

    handler = grpc.unary_stream_rpc_method_handler(
        fetch, kinds["X509SVIDRequest"].FromString, lambda message: message.SerializeToString()
    )
    return lambda server: server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("SpiffeWorkloadAPI", {"FetchX509SVID": handler}),)
    )


# ---- Istio's certificate service ----------------------------------------------------------------------------------------


def authority(folder):
    kinds = messages(
        "istio.v1.auth",
        {
            "IstioCertificateRequest": {"csr": (1, "string", False), "validity_duration": (3, "int64", False)},
            "IstioCertificateResponse": {"cert_chain": (1, "string", True)},
        },
    )
    ca = x509.load_pem_x509_certificate(folder.read("ca.pem"))
    ca_key = serialization.load_pem_private_key(folder.read("ca.key"), None)

    def create(request, context):
        metadata = dict(context.invocation_metadata())
        if folder.has("down"):
            say("down")
            context.abort(grpc.StatusCode.UNAVAILABLE, "the authority is down")
        if metadata.get("authorization") != "Bearer " + folder.read("token").decode().strip():
            say("unauthenticated")
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "request authenticate failure")
        csr = x509.load_pem_x509_csr(request.csr.encode())
        asked = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        asked = asked.get_values_for_type(x509.UniformResourceIdentifier)
        say("asked", *asked, request.validity_duration, metadata.get("clusterid"))
        # What the request says about itself is nothing: the token's owner is who it is for.
        now = datetime.datetime.now(datetime.timezone.utc)
        life = datetime.timedelta(seconds=int(folder.read("life")))
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(folder.read("id").decode().strip())])
        leaf = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(ca.subject)
            .public_key(csr.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now)
            .not_valid_after(now + life)
            .add_extension(names, critical=True)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .sign(ca_key, hashes.SHA256())
        )
        pem = leaf.public_bytes(serialization.Encoding.PEM).decode()
        return kinds["IstioCertificateResponse"](cert_chain=[pem, folder.read("ca.pem").decode()])

    handler = grpc.unary_unary_rpc_method_handler(
        create, kinds["IstioCertificateRequest"].FromString, lambda message: message.SerializeToString()
    )
    return lambda server: server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("istio.v1.auth.IstioCertificateService", {"CreateCertificate": handler}),)
    )


def main(mode, place, path):
    folder = Folder(path)
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
    {"sds": sds, "workload-api": workload_api, "authority": authority}[mode](folder)(server)
    if mode == "authority":
        pair = (folder.read("server.key"), folder.read("server.pem"))
        server.add_secure_port(f"127.0.0.1:{place}", grpc.ssl_server_credentials([pair]))
    else:
        server.add_insecure_port(f"unix:{place}")
    server.start()
    say("serving")
    server.wait_for_termination()


if __name__ == "__main__":
    main(*sys.argv[1:])
