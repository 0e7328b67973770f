#!/usr/bin/env python3
"""A plugin that gives the certificate in the files of its configuration, by default those in ./certs."""

import asyncio
import pathlib

import transom


class Files(transom.CertificateProvider):
    """`chain`, `key` and (optional) `ca` are files."""

    @classmethod
    def parse(cls, config):
        return config.read(chain=transom.text("./certs/cert.pem"), key=transom.text("./certs/key.pem"), ca=transom.text(""))

    async def certificate(self, server_name):
        files = [self.settings.chain, self.settings.key, self.settings.ca]
        # Read again each time, so that a new certificate is used within a minute.
        texts = await asyncio.gather(*(asyncio.to_thread(pathlib.Path(file).read_bytes) for file in files if file))
        chain, key, *authorities = texts
        return transom.Certificate(chain, key, b"".join(authorities), refresh_after=60)


if __name__ == "__main__":
    transom.Plugin("cert_loader", "1.0.0", certificates=[Files]).serve()
