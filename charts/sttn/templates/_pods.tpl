{{/* Parts that all pods share: the "restricted" pod security standard, environment, resources, placement. */}}

{{- define "sttn.podCommon" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 1000
  runAsGroup: 100
  fsGroup: 100
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .Values.pods.schedulerName }}
schedulerName: {{ . }}
{{- end }}
{{- end -}}

{{/* Labels of a pod: the given ones, and those of the values: (dict "root" $ "labels" "yaml"). What the
     chart selects pods by stands last, and wins. */}}
{{- define "sttn.podLabels" -}}
{{- toYaml (merge (fromYaml .labels) .root.Values.pods.labels) -}}
{{- end -}}

{{- define "sttn.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* Key of a Secret as a variable: (list "VARIABLE" "secret" "key"). */}}
{{- define "sttn.fromSecret" -}}
- name: {{ index . 0 }}
  valueFrom:
    secretKeyRef:
      name: {{ index . 1 }}
      key: {{ index . 2 }}
{{- end -}}

{{/* Environment for access to the object store. */}}
{{- define "sttn.storeEnv" -}}
{{- with .Values.store -}}
- name: AWS_DEFAULT_REGION
  value: {{ .region | quote }}
{{- if .endpoint }}
- name: AWS_ENDPOINT_URL
  value: {{ .endpoint | quote }}
{{- end }}
{{- if .existingSecret }}
{{ include "sttn.fromSecret" (list "AWS_ACCESS_KEY_ID" .existingSecret "AWS_ACCESS_KEY_ID") }}
{{ include "sttn.fromSecret" (list "AWS_SECRET_ACCESS_KEY" .existingSecret "AWS_SECRET_ACCESS_KEY") }}
{{- end }}
{{- end }}
{{- end -}}

{{/* A token for the API server, for the one container that mounts it. */}}
{{- define "sttn.tokenVolume" -}}
- name: api-server
  projected:
    sources:
      - serviceAccountToken: {path: token, expirationSeconds: 3607}
      - configMap:
          name: kube-root-ca.crt
          items: [{key: ca.crt, path: ca.crt}]
      - downwardAPI:
          items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]
{{- end -}}

{{- define "sttn.tokenMount" -}}
{name: api-server, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
{{- end -}}

{{/* Environment of the commands: data, storage, tracking. */}}
{{- define "sttn.commandEnv" -}}
- name: STTN_DATA
  value: {{ .Values.store.data | quote }}
- name: STTN_STORAGE
  value: {{ .Values.store.storage | quote }}
- name: STTN_CACHE
  value: /tmp/sttn-cache
- name: STTN_IMAGE
  value: {{ include "sttn.image" . | quote }}
{{ include "sttn.trackingEnv" . }}
{{ include "sttn.storeEnv" . }}
{{- end -}}

{{/* Environment for access to MLflow. */}}
{{- define "sttn.trackingEnv" -}}
- name: MLFLOW_TRACKING_URI
  value: {{ include "sttn.mlflow.uri" . | quote }}
{{- if .Values.mlflow.auth.enabled }}
{{ include "sttn.fromSecret" (list "MLFLOW_TRACKING_USERNAME" .Values.mlflow.existingSecret "username") }}
{{ include "sttn.fromSecret" (list "MLFLOW_TRACKING_PASSWORD" .Values.mlflow.existingSecret "password") }}
{{- end }}
- name: MLFLOW_DISABLE_TELEMETRY
  value: "true"
- name: MLFLOW_ALLOW_PICKLE_DESERIALIZATION
  value: "false"
{{- end -}}

{{/* The root file system is read-only: all that is written lies under /tmp. */}}
{{- define "sttn.scratchEnv" -}}
- name: HOME
  value: /tmp
- name: PYTHONSAFEPATH
  value: "1"
- name: PYTHONDONTWRITEBYTECODE
  value: "1"
{{- end -}}

{{- define "sttn.resources" -}}
{{- $all := merge (dict "cpu" .cpu "memory" .memory "ephemeral-storage" .scratch) (.extraResources | default dict) -}}
{{- if .gpus }}{{ $_ := set $all .gpuResource (toString .gpus) }}{{ end -}}
requests: {{- toYaml $all | nindent 2 }}
limits: {{- toYaml $all | nindent 2 }}
{{- end -}}

{{- define "sttn.placement" -}}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- $tolerations := .tolerations }}
{{- if .gpus }}
{{- $tolerations = append $tolerations (dict "key" .gpuResource "operator" "Exists" "effect" "NoSchedule") }}
{{- end }}
{{- with $tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with .affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
