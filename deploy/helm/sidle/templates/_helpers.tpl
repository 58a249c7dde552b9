{{/* The name of everything here. */}}
{{- define "sidle.name" -}}
{{- .Values.nameOverride | default .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* What selects the workload's Pods. */}}
{{- define "sidle.selector" -}}
app.kubernetes.io/name: {{ include "sidle.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "sidle.labels" -}}
{{ include "sidle.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{/* Labels of the Pod: what selects it, whatever values say; `app`, as most selectors of Istio's resources ask for it. */}}
{{- define "sidle.podLabels" -}}
{{- $own := dict "app" (include "sidle.name" .) -}}
{{- toYaml (merge (include "sidle.selector" . | fromYaml) .Values.podLabels $own) -}}
{{- end -}}

{{- define "sidle.account" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "sidle.name" .) }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end -}}
{{- end -}}

{{- define "sidle.configMap" -}}
{{ .Values.existingConfigMap | default (include "sidle.name" .) }}
{{- end -}}

{{/* The proxy's container. Beside an application it stands among the initContainers with restartPolicy Always: it is ready
before the application starts, and ends after it. */}}
{{- define "sidle.container" -}}
name: sidle
image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
imagePullPolicy: {{ .Values.image.pullPolicy }}
args: [run, --config, /etc/sidle]
{{- if .Values.containers }}
restartPolicy: Always
{{- end }}
env:
  - name: POD_NAMESPACE
    valueFrom: { fieldRef: { fieldPath: metadata.namespace } }
  - name: SIDLE_WORKLOAD
    value: {{ include "sidle.name" . | quote }}
  {{- $labels := list }}
  {{- range $key, $value := include "sidle.podLabels" . | fromYaml }}
  {{- $labels = append $labels (printf "%s=%s" $key $value) }}
  {{- end }}
  - name: SIDLE_LABELS
    value: {{ join "," $labels | quote }}
  {{- with .Values.workers }}
  - name: SIDLE_WORKERS
    value: {{ . | quote }}
  {{- end }}
  {{- with .Values.env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
ports:
  - { name: inbound, containerPort: 15006 }
  - { name: metrics, containerPort: 15090 }
  - { name: health, containerPort: 15021 }
# The application waits for it, as long as it takes to get an identity.
startupProbe:
  httpGet: { path: /healthz/ready, port: health }
  periodSeconds: 1
  failureThreshold: 120
readinessProbe:
  httpGet: { path: /healthz/ready, port: health }
  periodSeconds: 5
  failureThreshold: 2
{{- with .Values.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsUser: 1337
  runAsGroup: 1337
  runAsNonRoot: true
  readOnlyRootFilesystem: true
  allowPrivilegeEscalation: false
  capabilities: { drop: [ALL] }
  seccompProfile: { type: RuntimeDefault }
volumeMounts:
  - { name: sidle-config, mountPath: /etc/sidle, readOnly: true }
  {{- if .Values.identitySecret }}
  - { name: sidle-identity, mountPath: /var/run/sidle/identity, readOnly: true }
  {{- end }}
{{- end -}}

{{- define "sidle.volumes" -}}
- name: sidle-config
  configMap: { name: {{ include "sidle.configMap" . }} }
{{- with .Values.identitySecret }}
- name: sidle-identity
  secret: { secretName: {{ . | quote }}, defaultMode: 288 } # 0440
{{- end }}
{{- end -}}
