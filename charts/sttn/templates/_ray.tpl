{{/* One RayCluster, standing or of a job. */}}

{{/* A pod of Ray: (dict "root" $ "component" "ray-workers" "group" .Values.workers "account" "…"
     "token" false). With `token` its volumes have one for the API server, which the Ray container,
     where users' code runs, does not mount. The Ray container must be the first. */}}
{{- define "sttn.ray.pod" -}}
{{- $root := .root -}}
{{- $group := .group -}}
metadata:
  labels: {{- include "sttn.podLabels" (dict "root" $root "labels" (include "sttn.selector" .)) | nindent 4 }}
  {{- with $root.Values.pods.annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ .account }}
  {{- include "sttn.podCommon" $root | nindent 2 }}
  {{- $grace := $group.terminationGracePeriodSeconds | default 60 | int }}
  terminationGracePeriodSeconds: {{ $grace }}
  {{- with include "sttn.placement" $group | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- with $group.spreadOver }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: {{ . }}
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels: {{- include "sttn.selector" $ | nindent 10 }}
  {{- end }}
  containers:
    - name: ray
      image: {{ include "sttn.image" $root }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      securityContext: {{- include "sttn.containerSecurity" $root | nindent 8 }}
      env:
        {{- include "sttn.scratchEnv" $root | nindent 8 }}
        {{- include "sttn.commandEnv" $root | nindent 8 }}
        - name: RAY_USAGE_STATS_ENABLED
          value: "0"
        # Ray tells its workers of the eviction, waits this long for them, and kills them: its default of
        # 30 s would cut the grace period short. The rest is for its own processes to end.
        - name: RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S
          value: {{ max 1 (sub $grace 10) | quote }}
        {{- with concat ($group.extraEnv | default list) $root.Values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      # Until this has answered once, KubeRay's own probes do not count: with few cores Ray takes a
      # minute or two to start, and would be killed for it.
      startupProbe:
        httpGet: {path: /api/healthz, port: 52365}
        periodSeconds: 5
        failureThreshold: 120
      resources: {{- include "sttn.resources" $group | nindent 8 }}
      volumeMounts:
        - {name: scratch, mountPath: /tmp}
        {{- if $group.sharedMemory }}
        - {name: shared-memory, mountPath: /dev/shm}
        {{- end }}
        {{- if $root.Values.store.existingClaim }}
        - {name: lake, mountPath: /lake}
        {{- end }}
        {{- if $group.serviceClaim }}
        - {name: service, mountPath: /service}
        {{- end }}
        {{- with $root.Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: scratch
      emptyDir:
        sizeLimit: {{ $group.scratch }}
    {{- if $group.sharedMemory }}
    - name: shared-memory
      emptyDir:
        medium: Memory
        sizeLimit: {{ $group.sharedMemory }}
    {{- end }}
    {{- with $root.Values.store.existingClaim }}
    - name: lake
      persistentVolumeClaim:
        claimName: {{ . }}
    {{- end }}
    {{- with $group.serviceClaim }}
    - name: service
      persistentVolumeClaim:
        claimName: {{ . }}
    {{- end }}
    {{- if .token }}
    {{- include "sttn.tokenVolume" . | nindent 4 }}
    {{- end }}
    {{- with $root.Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{/* A group of workers: (dict "root" $ "name" "workers" "group" .Values.workers "least" 1 "first" 1
     "most" 1). */}}
{{- define "sttn.ray.group" -}}
groupName: {{ .name }}
replicas: {{ .first }}
minReplicas: {{ .least }}
maxReplicas: {{ .most }}
rayStartParams: {}
template:
  {{- $account := printf "%s-ray" (include "sttn.name" .root) }}
  {{- include "sttn.ray.pod" (dict "root" .root "component" (printf "ray-%s" .name) "group" .group "account" $account "token" false) | nindent 2 }}
{{- end -}}

{{/* spec of a RayCluster: (dict "root" $ "groups" (list …as sttn.ray.group without root…)
     "autoscaling" false), and, for a cluster of the service, "head" (…as .Values.head…), "headName"
     and "headResources" (resources of Ray, as JSON). */}}
{{- define "sttn.ray.spec" -}}
{{- $root := .root -}}
{{- $account := printf "%s-%s" (include "sttn.name" $root) (ternary "head" "ray" .autoscaling) -}}
rayVersion: {{ $root.Values.ray.version | quote }}
authOptions:
  mode: {{ $root.Values.ray.auth.mode }}
  {{- with $root.Values.ray.auth.existingSecret }}
  secretName: {{ . }}
  {{- end }}
{{- if .autoscaling }}
enableInTreeAutoscaling: true
autoscalerOptions:
  version: v2
  idleTimeoutSeconds: {{ $root.Values.cluster.autoscaling.idleSeconds }}
  securityContext: {{- include "sttn.containerSecurity" $root | nindent 4 }}
  resources:
    requests: {cpu: 500m, memory: 512Mi}
    limits: {cpu: 500m, memory: 512Mi}
  volumeMounts:
    - {{ include "sttn.tokenMount" . }}
{{- end }}
headGroupSpec:
  serviceType: ClusterIP
  rayStartParams:
    num-cpus: "0"
    {{- with .headResources }}
    resources: {{ . | squote | quote }}
    {{- end }}
  template:
    {{- $head := .head | default $root.Values.head }}
    {{- include "sttn.ray.pod" (dict "root" $root "component" (.headName | default "ray-head") "group" $head "account" $account "token" .autoscaling) | nindent 4 }}
workerGroupSpecs:
  {{- range .groups }}
  - {{ include "sttn.ray.group" (merge (dict "root" $root) .) | nindent 4 | trim }}
  {{- end }}
{{- end -}}
